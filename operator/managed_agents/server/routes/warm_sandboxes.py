"""The internal calls by which the operator keeps pools of blank sandboxes (docs/internal-api.md)."""

import secrets
from typing import Any, Literal

from aiohttp import web

from managed_agents.contracts.errors import NotFoundError, RejectedError
from managed_agents.contracts.names import warm_name_for
from managed_agents.contracts.packages import is_digest
from managed_agents.eventlog.warm_sandboxes import SandboxPool, WantedSandbox, WarmReport, WarmSandbox
from managed_agents.server.context import context_of
from managed_agents.server.middleware import json_response
from managed_agents.server.routes import access, bodies

_POOL = "/internal/v1/sandbox-pools/{namespace}/{environment}"
_SANDBOX = "/internal/v1/warm-sandboxes/{namespace}/{pod_name}"


def add_routes(app: web.Application) -> None:
    """Add the calls."""
    app.router.add_put(_POOL, put_pool)
    app.router.add_delete(_POOL, delete_pool)
    app.router.add_get("/internal/v1/warm-sandboxes", list_namespaces)
    app.router.add_post("/internal/v1/warm-sandboxes", post_sandbox)
    app.router.add_get("/internal/v1/warm-sandboxes/{namespace}", list_sandboxes)
    app.router.add_put(_SANDBOX, put_sandbox)
    app.router.add_delete(_SANDBOX, delete_sandbox)


async def put_pool(request: web.Request) -> web.Response:
    """Say what sandboxes of an Environment are like now."""
    await access.operator(request)
    body = await bodies.json_object(request)
    pool = SandboxPool(
        namespace=request.match_info["namespace"],
        environment=request.match_info["environment"],
        generation=bodies.number(body, "generation"),
        pool=bodies.text(body, "pool"),
    )
    await context_of(request).log.warm.put_pool(pool)
    return web.Response(status=204)


async def delete_pool(request: web.Request) -> web.Response:
    """End the claims on an Environment's pool; its sandboxes are retired one by one."""
    await access.operator(request)
    await context_of(request).log.warm.drop_pool(request.match_info["namespace"], request.match_info["environment"])
    return web.Response(status=204)


async def list_namespaces(request: web.Request) -> web.Response:
    """List the namespaces of which anything is kept."""
    await access.operator(request)
    return json_response({"namespaces": list(await context_of(request).log.warm.namespaces())})


async def list_sandboxes(request: web.Request) -> web.Response:
    """List a namespace's pools, and its sandboxes that no session has, oldest first."""
    await access.operator(request)
    pools, sandboxes = await context_of(request).log.warm.find(request.match_info["namespace"])
    shown = [{"environment": pool.environment, "generation": pool.generation, "pool": pool.pool} for pool in pools]
    return json_response({"pools": shown, "sandboxes": [_view(sandbox) for sandbox in sandboxes]})


async def post_sandbox(request: web.Request) -> web.Response:
    """Make the record of a Pod that the operator is about to make."""
    await access.operator(request)
    body = await bodies.json_object(request)
    packages = bodies.optional_text(body, "packages")
    if packages is not None and not is_digest(packages):
        raise RejectedError("packages: must be a hash of 32 hexadecimal digits, or null", field="packages")
    wanted = WantedSandbox(
        namespace=bodies.text(body, "namespace"),
        environment=bodies.text(body, "environment"),
        pod_name=warm_name_for(bodies.text(body, "name"), secrets.token_hex(5)),
        pool=bodies.text(body, "pool"),
        has_claim=body.get("has_claim") is True,
        packages=packages,
    )
    return json_response(_view(await context_of(request).log.warm.add(wanted)), status=201)


async def put_sandbox(request: web.Request) -> web.Response:
    """Store what the operator saw of a Pod. Raises: NotFoundError for one that is no longer the pool's."""
    await access.operator(request)
    context, body = context_of(request), await bodies.json_object(request)
    state = _state(body)
    report = WarmReport(
        namespace=request.match_info["namespace"],
        pod_name=request.match_info["pod_name"],
        state=state,
        pod_uid=bodies.text(body, "pod_uid") if state == "ready" else bodies.optional_text(body, "pod_uid"),
        address=bodies.text(body, "address") if state == "ready" else None,
    )
    sandbox = await context.log.warm.report(report)
    if sandbox is None and state != "gone":
        raise NotFoundError(f"Pod {report.pod_name} is not in a pool of namespace {report.namespace}")
    if sandbox is not None and sandbox.state == "ready":
        context.warm_packages.look()
    return web.Response(status=204)


def _state(body: dict[str, Any]) -> Literal["pending", "ready", "gone"]:
    match body.get("state"):
        case "pending":
            return "pending"
        case "ready":
            return "ready"
        case "gone":
            return "gone"
        case _:
            raise RejectedError("state: must be pending, ready or gone", field="state")


async def delete_sandbox(request: web.Request) -> web.Response:
    """Retire a sandbox, known or not, so that its Pod may go. Raises: ConflictError while a session has it."""
    await access.operator(request)
    is_workspace = await context_of(request).log.warm.retire(
        request.match_info["namespace"], request.match_info["pod_name"]
    )
    return json_response({"is_workspace": is_workspace})


def _view(sandbox: WarmSandbox) -> dict[str, Any]:
    return {
        "pod_name": sandbox.pod_name,
        "environment": sandbox.environment,
        "pool": sandbox.pool,
        "state": sandbox.state,
        "token_sha256": sandbox.token_sha256,
        "has_claim": sandbox.has_claim,
        "packages": sandbox.packages,
        "pod_uid": sandbox.pod_uid,
        "address": sandbox.address,
    }
