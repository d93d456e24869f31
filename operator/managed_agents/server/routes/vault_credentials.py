"""The public calls on the credentials of a vault (API reference §3.5). Who may change the vault may change them."""

from functools import partial

from aiohttp import web

from managed_agents.server.bodies.vaults import CredentialCreate, CredentialUpdate
from managed_agents.server.context import context_of
from managed_agents.server.middleware import json_response
from managed_agents.server.routes.agents import INCLUDE_ARCHIVED, LIMIT, PAGE
from managed_agents.server.routes.bodies import json_object
from managed_agents.server.routes.route import Route
from managed_agents.server.routes.vaults import vault_of
from managed_agents.server.services.paging import parse_window
from managed_agents.server.services.vault_credentials import VaultCredentials
from managed_agents.server.validation import checked


async def create_credential(request: web.Request) -> web.Response:
    """Add a credential."""
    vault = await vault_of(request, "update")
    body = checked(CredentialCreate, await json_object(request))
    return json_response(await _credentials(request).create(vault, body))


async def retrieve_credential(request: web.Request) -> web.Response:
    """Return a credential without its secrets."""
    return json_response(_credentials(request).retrieve(await vault_of(request, "get"), _id(request)))


async def update_credential(request: web.Request) -> web.Response:
    """Change a credential."""
    vault = await vault_of(request, "update")
    body = checked(CredentialUpdate, await json_object(request))
    return json_response(await _credentials(request).update(vault, _id(request), body))


async def list_credentials(request: web.Request) -> web.Response:
    """List a vault's credentials, newest first."""
    vault = await vault_of(request, "get")
    secret = context_of(request).log.secret
    window = parse_window(request.query, f"credentials\n{vault['metadata']['uid']}", secret)
    data, cursor = _credentials(request).page(vault, request.query, window, secret)
    return json_response({"data": data, "next_page": cursor})


async def delete_credential(request: web.Request) -> web.Response:
    """Delete a credential with its secrets."""
    return json_response(await _credentials(request).delete(await vault_of(request, "update"), _id(request)))


async def archive_credential(request: web.Request) -> web.Response:
    """Archive a credential: its secrets are purged, its record stays."""
    return json_response(await _credentials(request).archive(await vault_of(request, "update"), _id(request)))


async def validate_credential(request: web.Request) -> web.Response:
    """Say whether an OAuth credential works: a session that has it tries it, where one lives."""
    vault, credentials = await vault_of(request, "get"), _credentials(request)
    return json_response(await credentials.validate(vault, _id(request), context_of(request).probes))


def _credentials(request: web.Request) -> VaultCredentials:
    context = context_of(request)
    return VaultCredentials(objects=context.objects, clock=context.clock)


def _id(request: web.Request) -> str:
    return request.match_info["credential_id"]


ROUTES = (
    Route(
        method="POST",
        path="/v1/vaults/{vault_id}/credentials",
        handler=create_credential,
        family="vaults",
        summary="Add a credential to a vault; its secrets are write-only.",
        answers="vault_credential",
        body=CredentialCreate,
        permit=partial(vault_of, verb="update"),
    ),
    Route(
        method="GET",
        path="/v1/vaults/{vault_id}/credentials",
        handler=list_credentials,
        family="vaults",
        summary="List a vault's credentials, newest first, without their secrets.",
        answers="list of vault_credential",
        query=(INCLUDE_ARCHIVED, LIMIT, PAGE),
    ),
    Route(
        method="GET",
        path="/v1/vaults/{vault_id}/credentials/{credential_id}",
        handler=retrieve_credential,
        family="vaults",
        summary="Retrieve a credential without its secrets.",
        answers="vault_credential",
    ),
    Route(
        method="POST",
        path="/v1/vaults/{vault_id}/credentials/{credential_id}",
        handler=update_credential,
        family="vaults",
        summary="Change a credential; fields that are left out stay.",
        answers="vault_credential",
        body=CredentialUpdate,
        permit=partial(vault_of, verb="update"),
    ),
    Route(
        method="DELETE",
        path="/v1/vaults/{vault_id}/credentials/{credential_id}",
        handler=delete_credential,
        family="vaults",
        summary="Delete a credential with its secrets.",
        answers="vault_credential_deleted",
    ),
    Route(
        method="POST",
        path="/v1/vaults/{vault_id}/credentials/{credential_id}/archive",
        handler=archive_credential,
        family="vaults",
        summary="Archive a credential, for ever; its secrets are purged.",
        answers="vault_credential",
        permit=partial(vault_of, verb="update"),
    ),
    Route(
        method="POST",
        path="/v1/vaults/{vault_id}/credentials/{credential_id}/mcp_oauth_validate",
        handler=validate_credential,
        family="vaults",
        summary="Say whether an OAuth credential works, tried by a session that has it where one lives.",
        answers="vault_credential_validation",
        permit=partial(vault_of, verb="get"),
    ),
)
