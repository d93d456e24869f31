"""The public calls of sessions: create, look, list, change, archive, delete (API reference §3.3, §4.5)."""

from functools import partial

from aiohttp import web

from managed_agents.eventlog.queries import SessionRecord
from managed_agents.server.bodies.sessions import SessionCreate, SessionUpdate
from managed_agents.server.context import context_of
from managed_agents.server.middleware import json_response
from managed_agents.server.repeats import ANSWERING
from managed_agents.server.routes import access, bodies
from managed_agents.server.routes.route import Query, Route
from managed_agents.server.services.session_list import LIMIT_MAX, STATUSES, list_sessions, parse_page
from managed_agents.server.services.session_view import session_view
from managed_agents.server.validation import checked


async def permitted_record(request: web.Request, verb: str) -> SessionRecord:
    """Return the session of the path, in the log or only applied yet, for a caller that may do this to it.

    Raises: UnauthenticatedError, NotFoundError, ForbiddenError.
    """
    await access.caller(request)
    session_id = request.match_info["session_id"]
    record = await context_of(request).public_sessions.editor.record(session_id)
    session = record.session
    await access.permitted(request, verb, "sessions", session.namespace, session.name, f"session {session_id}")
    return record


def shown(request: web.Request, record: SessionRecord) -> web.Response:
    """Answer with a session."""
    return json_response(session_view(record, context_of(request).clock.now()))


async def create_session(request: web.Request) -> web.Response:
    """Create a session; with initial events it starts at once."""
    place = await access.workspace(request, "create", "sessions")
    body = checked(SessionCreate, await bodies.json_object(request))
    creator, answering = context_of(request).public_sessions.creator, request[ANSWERING]
    record = await creator.create(place.namespace, body, place.caller.sender(), answering.key)
    answering.is_kept = True  # in the commit that bound the session to its object
    return shown(request, record)


async def get_session(request: web.Request) -> web.Response:
    """Return a session."""
    return shown(request, await permitted_record(request, "get"))


async def list_all(request: web.Request) -> web.Response:
    """Return one page of the namespace's sessions."""
    place = await access.workspace(request, "list", "sessions")
    context = context_of(request)
    page = parse_page(place.namespace, request.query.items(), context.log.secret)
    found = await list_sessions(context.log, context.public_sessions.pending, page)
    now = context.clock.now()
    return json_response(
        {
            "data": [session_view(record, now) for record in found.records],
            "next_page": found.next_page,
            "prev_page": found.prev_page,
        }
    )


async def update_session(request: web.Request) -> web.Response:
    """Change a session's title, metadata, budget, or the tools of its agent."""
    record = await permitted_record(request, "update")
    body = checked(SessionUpdate, await bodies.json_object(request))
    return shown(request, await context_of(request).public_sessions.editor.update(record, body))


async def archive_session(request: web.Request) -> web.Response:
    """End a session and keep its history."""
    record = await permitted_record(request, "update")
    return shown(request, await context_of(request).public_sessions.editor.archive(record))


async def delete_session(request: web.Request) -> web.Response:
    """Remove a session, its history and its sandbox."""
    record = await permitted_record(request, "delete")
    await context_of(request).public_sessions.editor.delete(record)
    return json_response({"id": record.session.id, "type": "session_deleted"})


_SESSIONS = "/v1/sessions"
_SESSION = f"{_SESSIONS}/{{session_id}}"
_TIMES = tuple(
    Query(name=f"created_at[{comparison}]", schema={"type": "string", "format": "date-time"})
    for comparison in ("gt", "gte", "lt", "lte")
)
_LIST = (
    Query(name="agent_id"),
    Query(name="agent_version", schema={"type": "integer", "minimum": 1}, summary="Only with agent_id"),
    Query(name="deployment_id"),
    Query(name="memory_store_id"),
    Query(name="statuses", schema={"type": "string", "enum": list(STATUSES)}, is_list=True),
    *_TIMES,
    Query(name="include_archived", schema={"type": "boolean"}),
    Query(name="order", schema={"type": "string", "enum": ["asc", "desc"]}),
    Query(name="limit", schema={"type": "integer", "minimum": 1, "maximum": LIMIT_MAX}),
    Query(name="page"),
)

ROUTES = (
    Route(
        method="POST",
        path=_SESSIONS,
        handler=create_session,
        family="sessions",
        summary="Create a session",
        answers="session",
        body=SessionCreate,
        permit=partial(access.workspace, verb="create", resource="sessions"),
    ),
    Route(
        method="GET",
        path=_SESSIONS,
        handler=list_all,
        family="sessions",
        summary="List sessions, in both directions",
        answers="list of session",
        query=_LIST,
    ),
    Route(
        method="GET",
        path=_SESSION,
        handler=get_session,
        family="sessions",
        summary="Return a session",
        answers="session",
    ),
    Route(
        method="POST",
        path=_SESSION,
        handler=update_session,
        family="sessions",
        summary="Change a session",
        answers="session",
        body=SessionUpdate,
        permit=partial(permitted_record, verb="update"),
    ),
    Route(
        method="DELETE",
        path=_SESSION,
        handler=delete_session,
        family="sessions",
        summary="Delete a session",
        answers="session_deleted",
    ),
    Route(
        method="POST",
        path=f"{_SESSION}/archive",
        handler=archive_session,
        family="sessions",
        summary="Archive a session",
        answers="session",
        permit=partial(permitted_record, verb="update"),
    ),
)
"""The public calls of sessions."""
