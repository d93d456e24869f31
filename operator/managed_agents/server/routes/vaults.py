"""The public calls on vaults (API reference §3.5)."""

from functools import partial

from aiohttp import web

from managed_agents.contracts.errors import NotFoundError
from managed_agents.kube.resources import Manifest
from managed_agents.server.bodies.vaults import VaultCreate, VaultUpdate
from managed_agents.server.context import context_of
from managed_agents.server.middleware import json_response
from managed_agents.server.routes import access
from managed_agents.server.routes.agents import INCLUDE_ARCHIVED, LIMIT, PAGE
from managed_agents.server.routes.bodies import json_object
from managed_agents.server.routes.route import Route
from managed_agents.server.services.paging import parse_window
from managed_agents.server.services.vaults import Vaults, view
from managed_agents.server.validation import checked

RESOURCE = "vaults"


async def create_vault(request: web.Request) -> web.Response:
    """Create a vault."""
    workspace = await access.workspace(request, "create", RESOURCE)
    body = checked(VaultCreate, await json_object(request))
    return json_response(await _vaults(request).create(workspace.namespace, body))


async def retrieve_vault(request: web.Request) -> web.Response:
    """Return a vault."""
    return json_response(view(await vault_of(request, "get")))


async def update_vault(request: web.Request) -> web.Response:
    """Change a vault."""
    vault = await vault_of(request, "update")
    return json_response(await _vaults(request).update(vault, checked(VaultUpdate, await json_object(request))))


async def list_vaults(request: web.Request) -> web.Response:
    """List a workspace's vaults, newest first."""
    workspace = await access.workspace(request, "list", RESOURCE)
    secret = context_of(request).log.secret
    window = parse_window(request.query, f"vaults\n{workspace.namespace}", secret)
    data, cursor = _vaults(request).page(workspace.namespace, request.query, window, secret)
    return json_response({"data": data, "next_page": cursor})


async def delete_vault(request: web.Request) -> web.Response:
    """Delete a vault with its credentials."""
    return json_response(await _vaults(request).delete(await vault_of(request, "delete")))


async def archive_vault(request: web.Request) -> web.Response:
    """Archive a vault with its credentials, whose secrets are purged."""
    return json_response(await _vaults(request).archive(await vault_of(request, "update")))


async def vault_of(request: web.Request, verb: str) -> Manifest:
    """Return the Vault of the path for a caller who may do this.

    Raises: NotFoundError, also when the caller may not see it.
    """
    await access.caller(request)
    vault_id = request.match_info["vault_id"]
    shown = f"vault {vault_id}"
    try:
        vault = context_of(request).objects.vaults.get(vault_id)
        metadata = vault["metadata"]
        await access.permitted(request, verb, RESOURCE, metadata["namespace"], metadata["name"], shown)
    except NotFoundError:
        raise NotFoundError(f"{shown} not found") from None
    return vault


def _vaults(request: web.Request) -> Vaults:
    context = context_of(request)
    return Vaults(objects=context.objects, clock=context.clock)


ROUTES = (
    Route(
        method="POST",
        path="/v1/vaults",
        handler=create_vault,
        family="vaults",
        summary="Create a vault.",
        answers="vault",
        body=VaultCreate,
        permit=partial(access.workspace, verb="create", resource=RESOURCE),
    ),
    Route(
        method="GET",
        path="/v1/vaults",
        handler=list_vaults,
        family="vaults",
        summary="List vaults, newest first.",
        answers="list of vault",
        query=(INCLUDE_ARCHIVED, LIMIT, PAGE),
    ),
    Route(
        method="GET",
        path="/v1/vaults/{vault_id}",
        handler=retrieve_vault,
        family="vaults",
        summary="Retrieve a vault.",
        answers="vault",
    ),
    Route(
        method="POST",
        path="/v1/vaults/{vault_id}",
        handler=update_vault,
        family="vaults",
        summary="Change a vault; fields that are left out stay.",
        answers="vault",
        body=VaultUpdate,
        permit=partial(vault_of, verb="update"),
    ),
    Route(
        method="DELETE",
        path="/v1/vaults/{vault_id}",
        handler=delete_vault,
        family="vaults",
        summary="Delete a vault with its credentials.",
        answers="vault_deleted",
    ),
    Route(
        method="POST",
        path="/v1/vaults/{vault_id}/archive",
        handler=archive_vault,
        family="vaults",
        summary="Archive a vault with its credentials, for ever; their secrets are purged.",
        answers="vault",
        permit=partial(vault_of, verb="update"),
    ),
)
