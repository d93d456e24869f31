"""The proxy's internal calls on the OAuth grants of its session's vaults (docs/internal-api.md)."""

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from managed_agents.server.bodies.grants import GrantProbe, GrantProblem, GrantRenewed, GrantTurn
from managed_agents.server.context import context_of
from managed_agents.server.middleware import json_response
from managed_agents.server.routes import access, bodies
from managed_agents.server.services.vault_grants import VaultGrants
from managed_agents.server.validation import checked

_GRANT = "/internal/v1/sessions/{session_id}/credentials/{credential_id}"


def add_routes(app: web.Application) -> None:
    """Add the calls."""
    app.router.add_post(f"{_GRANT}/turn", take_turn)
    app.router.add_put(f"{_GRANT}/grant", store_grant)
    app.router.add_put(f"{_GRANT}/problem", report_problem)
    app.router.add_put(f"{_GRANT}/probe", report_probe)


async def take_turn(request: web.Request) -> web.Response:
    """Let a proxy renew a grant that other sessions may share."""
    config = await _config(request)
    turn = checked(GrantTurn, await bodies.json_object(request))
    _grants(request).take_turn(config, _id(request), turn.version)
    return json_response({})


async def store_grant(request: web.Request) -> web.Response:
    """Store a renewed grant."""
    config = await _config(request)
    grant = checked(GrantRenewed, await bodies.json_object(request))
    return json_response({"version": await _grants(request).store(config, _id(request), grant)})


async def report_problem(request: web.Request) -> web.Response:
    """Note that a grant cannot be renewed, or that it can again."""
    config = await _config(request)
    problem = checked(GrantProblem, await bodies.json_object(request))
    await _grants(request).report(config, _id(request), problem)
    return json_response({})


async def report_probe(request: web.Request) -> web.Response:
    """Take in what a probe has found that was asked for."""
    session_id = await access.harness(request)
    found = checked(GrantProbe, await bodies.json_object(request)).model_dump()
    context_of(request).probes.answered(session_id, _id(request), found.pop("probe"), found)
    return json_response({})


async def _config(request: web.Request) -> Mapping[str, Any]:
    """Return the config of the caller's own session. Raises: NotRegisteredError."""
    return await context_of(request).log.config(await access.harness(request))


def _grants(request: web.Request) -> VaultGrants:
    context = context_of(request)
    return VaultGrants(objects=context.objects, turns=context.refresh_turns, clock=context.clock)


def _id(request: web.Request) -> str:
    return request.match_info["credential_id"]
