"""The public calls of this version: send, list and stream a session's events (API reference §3, §5, §7)."""

from collections.abc import Callable

import orjson
from aiohttp import web

from managed_agents.contracts.errors import RejectedError
from managed_agents.eventlog.records import LoggedEvent
from managed_agents.server.context import context_of
from managed_agents.server.middleware import json_bytes
from managed_agents.server.repeats import ANSWERING, KEY_HEADER
from managed_agents.server.routes import access, bodies, streaming
from managed_agents.server.routes.route import Query, Route
from managed_agents.server.services.client_events import parse_events
from managed_agents.server.services.event_types import LISTED
from managed_agents.server.services.listing import POSITION_MAX, Listed, parse_page, read_page
from managed_agents.server.services.replies import events_body


async def send_events(request: web.Request) -> web.Response:
    """Queue client events, all or none, and echo them with their ids."""
    session, caller = await access.sender(request)
    context = context_of(request)
    body = await bodies.json_object(request)
    unknown = sorted(set(body) - {"events"})
    if unknown:
        raise RejectedError(f"{unknown[0]}: unknown field; the body holds `events`", field=unknown[0])
    events = parse_events(body.get("events"))
    answering, key = request[ANSWERING], request.headers.get(KEY_HEADER)
    with context.metrics.append_seconds.time():
        sent = await context.sessions.send(
            session.id, events, key=key, sender=caller.sender(), reply=answering.key if key is None else None
        )
    answering.is_kept = True  # in the commit of the append: by the log under its key, for ever, or for a retry
    context.metrics.events.labels("client").inc(len(sent))
    return json_bytes(events_body(sent))


async def list_events(request: web.Request) -> web.Response:
    """Return one page of the log; with `sender=true`, and for who may learn it, each client event's sender too."""
    session, _ = await access.reader(request)
    render: Callable[[LoggedEvent], bytes] = LoggedEvent.public
    if request.query.get("sender") == "true":
        await access.require_auditor(request, session)
        render = _with_sender
    log = context_of(request).log
    page = parse_page(session.id, request.query.items(), log.secret, LISTED)
    return page_response(await read_page(log, page, session.projection.head, log.secret), render)


def _with_sender(event: LoggedEvent) -> bytes:
    sender = orjson.loads(event.private).get("sender") if event.private is not None else None
    return b'%b,"sender":%b}' % (event.public()[:-1], orjson.dumps(sender))


def page_response(listed: Listed, render: Callable[[LoggedEvent], bytes] = LoggedEvent.public) -> web.Response:
    """Render a page of events."""
    following = b"null" if listed.cursor is None else b'"%b"' % listed.cursor.encode()
    return json_bytes(b'{"data":[%b],"next_page":%b}' % (b",".join(map(render, listed.events)), following))


async def stream_events(request: web.Request) -> web.StreamResponse:
    """Stream what happens from now on; after `Last-Event-ID`, where a client sends it."""
    session, _ = await access.reader(request)
    return await streaming.stream_of(request, session.id)


_SESSION = "/v1/sessions/{session_id}"
_TIMES = tuple(
    Query(name=f"created_at[{comparison}]", schema={"type": "string", "format": "date-time"})
    for comparison in ("gt", "gte", "lt", "lte")
)
_POSITIONS = tuple(
    Query(name=name, schema={"type": "integer", "minimum": 0, "maximum": POSITION_MAX}, summary=summary)
    for name, summary in (
        ("after_position", "Only events after this position; an addition of this server"),
        ("before_position", "Only events before this position; an addition of this server"),
        ("around_position", "Half of `limit` before this position and the rest from it on; an addition of this server"),
    )
)

ROUTES = (
    Route(
        method="POST",
        path=f"{_SESSION}/events",
        handler=send_events,
        family="events",
        summary="Queue client events, all or none",
        answers="list of event",
        permit=access.sender,
    ),
    Route(
        method="GET",
        path=f"{_SESSION}/events",
        handler=list_events,
        family="events",
        summary="List a session's events",
        answers="list of event",
        query=(
            Query(name="types", is_list=True),
            *_TIMES,
            Query(name="order", schema={"type": "string", "enum": ["asc", "desc"]}),
            Query(name="limit", schema={"type": "integer", "minimum": 1, "maximum": 1000}),
            Query(name="page"),
            Query(name="sender", schema={"type": "boolean"}, summary="Show who sent each client event, to auditors"),
            *_POSITIONS,
        ),
    ),
    Route(
        method="GET",
        path=f"{_SESSION}/events/stream",
        handler=stream_events,
        family="events",
        summary="Stream a session's events from now on",
        answers="stream of events",
        query=(Query(name="event_deltas", is_list=True),),
        gives="text/event-stream",
    ),
)
"""The public calls of a session's events."""
