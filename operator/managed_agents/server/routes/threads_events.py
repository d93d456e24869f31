"""The events of a session's threads: list and stream (API reference §3.3). A session has its primary thread only."""

from aiohttp import web

from managed_agents.contracts.errors import NotFoundError
from managed_agents.contracts.ids import SessionId, primary_thread_id_for
from managed_agents.eventlog.records import Session
from managed_agents.server.context import context_of
from managed_agents.server.routes import access, streaming
from managed_agents.server.routes.events import page_response
from managed_agents.server.routes.route import Query, Route
from managed_agents.server.services.listing import parse_thread_page, read_page


async def list_thread_events(request: web.Request) -> web.Response:
    """Return one page of a thread's events: of the primary thread, all of the session's."""
    session, thread_id = await _thread(request)
    log = context_of(request).log
    page = parse_thread_page(session.id, thread_id, request.query.items(), log.secret)
    return page_response(await read_page(log, page, session.projection.head, log.secret))


async def stream_thread_events(request: web.Request) -> web.StreamResponse:
    """Stream a thread's events as the session's stream does."""
    session, _ = await _thread(request)
    return await streaming.stream_of(request, session.id)


async def _thread(request: web.Request) -> tuple[Session, str]:
    session, _ = await access.reader(request)
    thread_id = request.match_info["thread_id"]
    if thread_id != primary_thread_id_for(SessionId(session.id)):
        raise NotFoundError(f"thread {thread_id} not found in session {session.id}")
    return session, thread_id


_THREAD = "/v1/sessions/{session_id}/threads/{thread_id}"

ROUTES = (
    Route(
        method="GET",
        path=f"{_THREAD}/events",
        handler=list_thread_events,
        family="threads",
        summary="List a thread's events",
        answers="list of event",
        query=(Query(name="limit", schema={"type": "integer", "minimum": 1, "maximum": 1000}), Query(name="page")),
    ),
    Route(
        method="GET",
        path=f"{_THREAD}/stream",
        handler=stream_thread_events,
        family="threads",
        summary="Stream a thread's events from now on",
        answers="stream of events",
        query=(Query(name="event_deltas", is_list=True),),
        gives="text/event-stream",
    ),
)
"""The public calls of a thread's events."""
