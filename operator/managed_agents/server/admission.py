"""What every call of the public API passes before its handler: who calls, within which limits, is it a repeat."""

import contextlib
import functools
import hashlib
import hmac
import uuid

from aiohttp import web
from aiohttp.typedefs import Handler

from managed_agents.contracts.ids import workspace_id_for
from managed_agents.server.context import context_of
from managed_agents.server.repeats import answered_once, is_form
from managed_agents.server.routes import access
from managed_agents.server.services.limits import RequestKind

API_PREFIX = "/v1/"


@web.middleware
async def admitted(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let a call in. Raises: UnauthenticatedError, RateLimitedError, RetryableError."""
    if not request.path.startswith(API_PREFIX):
        return await handler(request)
    limits = context_of(request).limits
    caller = await access.caller(request)
    tenant = caller.tenant
    limits.admit(tenant, _kind(request))
    if request.method == "POST":
        size = 0 if is_form(request) or not request.can_read_body else request.content_length
        with limits.body(tenant, size):
            return await answered_once(request, handler, caller)
    with limits.stream(tenant) if _is_stream(request) else contextlib.nullcontext():
        return await handler(request)


async def show_workspace(request: web.Request, response: web.StreamResponse) -> None:
    """Put the workspace's and the installation's id on an answer."""
    if access.CALLER in request:
        response.headers["anthropic-organization-id"] = organization_id(context_of(request).log.secret)
    if access.NAMESPACE in request:
        response.headers[access.WORKSPACE_HEADER] = workspace_id_for(request[access.NAMESPACE])


@functools.cache
def organization_id(secret: bytes) -> str:
    """Derive the id of this installation from its log's secret: it lives as long as the log."""
    return str(uuid.UUID(bytes=hmac.digest(secret, b"organization", hashlib.sha256)[:16]))


def _kind(request: web.Request) -> RequestKind:
    if request.method in ("GET", "HEAD"):
        return "reads"
    resource = request.match_info.route.resource
    is_collection = resource is not None and "{" not in resource.canonical
    return "creates" if request.method == "POST" and is_collection else "writes"


def _is_stream(request: web.Request) -> bool:
    resource = request.match_info.route.resource
    return resource is not None and resource.canonical.endswith("/stream")
