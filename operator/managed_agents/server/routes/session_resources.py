"""The public calls of a session's resources: files that come and go, repositories for its life (API reference §4.5)."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from aiohttp import web

from managed_agents.contracts.errors import NotFoundError, RejectedError
from managed_agents.eventlog.queries import SessionRecord
from managed_agents.server.bodies.sessions import ResourceAdd, ResourceUpdate
from managed_agents.server.context import context_of
from managed_agents.server.middleware import json_response
from managed_agents.server.routes import bodies
from managed_agents.server.routes.route import Query, Route
from managed_agents.server.routes.sessions import permitted_record
from managed_agents.server.services.resource_pages import parse_page
from managed_agents.server.services.session_view import resource_view
from managed_agents.server.validation import checked


async def list_resources(request: web.Request) -> web.Response:
    """Return the session's resources; all of them where no limit is given."""
    record = await permitted_record(request, "get")
    entries = record.config.get("resources") or []
    page = parse_page(record.session.id, entries, request.query, context_of(request).log.secret)
    return json_response({"data": [resource_view(entry) for entry in page.entries], "next_page": page.next_page})


async def get_resource(request: web.Request) -> web.Response:
    """Return a resource."""
    return json_response(resource_view(_entry(request, await permitted_record(request, "get"))))


async def add_resource(request: web.Request) -> web.Response:
    """Give the session a file."""
    record = await permitted_record(request, "update")
    body = checked(ResourceAdd, await bodies.json_object(request))
    return json_response(resource_view(await context_of(request).public_sessions.files.add(record, body)))


async def update_resource(request: web.Request) -> web.Response:
    """Give a repository another token, which a running session uses from then on."""
    record = await permitted_record(request, "update")
    entry = _entry(request, record)
    body = checked(ResourceUpdate, await bodies.json_object(request))
    if entry["type"] != "github_repository":
        text = f"authorization_token: belongs to github_repository, this is a {entry['type']}"
        raise RejectedError(text, field="authorization_token")
    changed = await context_of(request).public_sessions.repositories.renew(record, entry, body.authorization_token)
    return json_response(resource_view(changed))


async def delete_resource(request: web.Request) -> web.Response:
    """Take a file away."""
    record = await permitted_record(request, "update")
    entry = _entry(request, record)
    if entry["type"] != "file":
        raise RejectedError(f"{entry['id']} is a {entry['type']}, which stays for the life of its session")
    await context_of(request).public_sessions.files.remove(record, entry)
    return json_response({"id": entry["id"], "type": "session_resource_deleted"})


def _entry(request: web.Request, record: SessionRecord) -> Mapping[str, Any]:
    resource_id = request.match_info["resource_id"]
    for entry in record.config.get("resources") or []:
        if entry["id"] == resource_id:
            found: Mapping[str, Any] = entry
            return found
    raise NotFoundError(f"resource {resource_id} not found in session {record.session.id}")


_RESOURCES = "/v1/sessions/{session_id}/resources"
_RESOURCE = f"{_RESOURCES}/{{resource_id}}"

ROUTES = (
    Route(
        method="GET",
        path=_RESOURCES,
        handler=list_resources,
        family="resources",
        summary="List a session's resources",
        answers="list of session_resource",
        query=(Query(name="limit", schema={"type": "integer", "minimum": 1, "maximum": 1000}), Query(name="page")),
    ),
    Route(
        method="POST",
        path=_RESOURCES,
        handler=add_resource,
        family="resources",
        summary="Add a file to a session",
        answers="file",
        body=ResourceAdd,
        permit=partial(permitted_record, verb="update"),
    ),
    Route(
        method="GET",
        path=_RESOURCE,
        handler=get_resource,
        family="resources",
        summary="Return a resource",
        answers="session_resource",
    ),
    Route(
        method="POST",
        path=_RESOURCE,
        handler=update_resource,
        family="resources",
        summary="Change a repository's token",
        answers="session_resource",
        body=ResourceUpdate,
        permit=partial(permitted_record, verb="update"),
    ),
    Route(
        method="DELETE",
        path=_RESOURCE,
        handler=delete_resource,
        family="resources",
        summary="Remove a file from a session",
        answers="session_resource_deleted",
    ),
)
"""The public calls of a session's resources."""
