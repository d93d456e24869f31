"""The public calls of a session's threads: there is the primary one (API reference §4.7)."""

from functools import partial

from aiohttp import web

from managed_agents.contracts.errors import NotFoundError, RejectedError
from managed_agents.contracts.events import types
from managed_agents.contracts.ids import SessionId, primary_thread_id_for
from managed_agents.eventlog.queries import SessionRecord
from managed_agents.eventlog.records import Slice
from managed_agents.server.context import context_of
from managed_agents.server.middleware import json_response
from managed_agents.server.routes.route import Query, Route
from managed_agents.server.routes.sessions import permitted_record
from managed_agents.server.services.query import parse_number
from managed_agents.server.services.session_list import STATUSES
from managed_agents.server.services.session_view import thread_view

LIMIT_MAX = 1000


async def list_threads(request: web.Request) -> web.Response:
    """Return the threads of a session."""
    record = await permitted_record(request, "get")
    wanted = [value for name, value in request.query.items() if name in ("statuses", "statuses[]")]
    for value in wanted:
        if value not in STATUSES:
            raise RejectedError(f"statuses: must be one of {', '.join(STATUSES)}; found {value!r}", field="statuses")
    parse_number("limit", request.query.get("limit"), 1, LIMIT_MAX)
    if request.query.get("page"):
        raise RejectedError("page: no cursor of this list, which has one page", field="page")
    shown = await _view(request, record)
    return json_response({"data": [shown] if not wanted or shown["status"] in wanted else [], "next_page": None})


async def get_thread(request: web.Request) -> web.Response:
    """Return a thread."""
    record = await permitted_record(request, "get")
    _require_primary(request, record)
    return json_response(await _view(request, record))


async def archive_thread(request: web.Request) -> web.Response:
    """Refuse: the primary thread lives as long as its session."""
    record = await permitted_record(request, "update")
    _require_primary(request, record)
    raise RejectedError("the primary thread of a session cannot be archived; archive the session")


async def _view(request: web.Request, record: SessionRecord) -> dict[str, object]:
    context = context_of(request)
    started_at = await _started_at(request, record) if record.session.projection.head else None
    return thread_view(record, context.clock.now(), started_at=started_at)


async def _started_at(request: web.Request, record: SessionRecord) -> str | None:
    events = await context_of(request).log.read(record.session.id, Slice(limit=1, types=(types.STATUS_RUNNING,)))
    return events[0].processed_at if events else None


def _require_primary(request: web.Request, record: SessionRecord) -> None:
    thread_id = request.match_info["thread_id"]
    if thread_id != primary_thread_id_for(SessionId(record.session.id)):
        raise NotFoundError(f"thread {thread_id} not found in session {record.session.id}")


_THREADS = "/v1/sessions/{session_id}/threads"

ROUTES = (
    Route(
        method="GET",
        path=_THREADS,
        handler=list_threads,
        family="threads",
        summary="List a session's threads",
        answers="list of session_thread",
        query=(
            Query(name="statuses", schema={"type": "string", "enum": list(STATUSES)}, is_list=True),
            Query(name="limit", schema={"type": "integer", "minimum": 1, "maximum": LIMIT_MAX}),
            Query(name="page"),
        ),
    ),
    Route(
        method="GET",
        path=f"{_THREADS}/{{thread_id}}",
        handler=get_thread,
        family="threads",
        summary="Return a thread",
        answers="session_thread",
    ),
    Route(
        method="POST",
        path=f"{_THREADS}/{{thread_id}}/archive",
        handler=archive_thread,
        family="threads",
        summary="Archive a thread; the primary one cannot be",
        answers="session_thread",
        permit=partial(permitted_record, verb="update"),
    ),
)
"""The public calls of threads."""
