"""One reader's stream of a session's events, from its query to its last byte (API reference §7)."""

from aiohttp import web

from managed_agents.contracts.errors import NotFoundError, RejectedError
from managed_agents.eventlog.errors import DamagedError
from managed_agents.server.context import Context, context_of
from managed_agents.server.errors import public_body
from managed_agents.server.middleware import REQUEST_ID
from managed_agents.server.previews import PREVIEWABLE
from managed_agents.server.routes import access
from managed_agents.server.services.catching_up import processed_since
from managed_agents.server.sse import HEARTBEAT, Stream, Wire, data_frame

EVENT_DELTAS_MAX = 100
LAST_EVENT_ID = "Last-Event-ID"


async def stream_of(request: web.Request, session_id: str) -> web.StreamResponse:
    """Stream what happens in a session from now on; after `Last-Event-ID`, where a client sends it.

    Raises: RejectedError for a bad parameter, before any header leaves.
    """
    context, previews = context_of(request), _previews(request)
    shown = await access.stream_pass(request)
    resume_after = await _resume_position(request, context, session_id)
    transport = request.transport
    stream = context.streams.open(session_id, previews, transport.abort if transport is not None else lambda: None)
    stream.live = resume_after is None
    context.guards.add(stream, shown)
    try:
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        )
        await response.prepare(request)
        sent = 0 if resume_after is None else await _catch_up(context, response, stream, resume_after)
        stream.attach(_wire(request, response), sent)
        await _follow(context, response, stream)
    except DamagedError as error:
        answer = public_body("api_error", error.message, request[REQUEST_ID])
        await response.write(data_frame({**answer, "type": "error"}))
    finally:
        context.guards.remove(stream)
        context.streams.close(stream)
    return response


def _wire(request: web.Request, response: web.StreamResponse) -> Wire | None:
    if request.transport is None:
        return None
    return Wire(request.transport, chunked=response.headers.get("Transfer-Encoding") == "chunked")


async def _catch_up(context: Context, response: web.StreamResponse, stream: Stream, after: int) -> int:
    """Send the log up to where the stream takes over; return the last position sent."""
    try:
        async for copies in processed_since(context.log, stream.session_id, after):
            await response.write(copies)
        head = (await context.log.session(stream.session_id)).projection.head
        while not (stream.ended or stream.dropped):
            live = stream.live
            frames, after = await context.streams.pages.after(context.log, stream.session_id, after, head)
            if frames:
                await response.write(frames)
            elif live:
                break
            stream.live = live or not frames  # one more read then finds what came before it was live
    except NotFoundError:  # deleted meanwhile; the stream says so itself
        pass
    return after


async def _follow(context: Context, response: web.StreamResponse, stream: Stream) -> None:
    """Send frames that had to wait, and a comment now and then, until the stream ends."""
    while True:
        frames = await stream.take(context.settings.stream_heartbeat_seconds)
        if frames:
            await response.write(b"".join(frame.data for frame in frames))
            context.streams.delivered(frames[0])
        elif stream.ended or stream.dropped:
            return
        else:
            await response.write(HEARTBEAT)


def _previews(request: web.Request) -> frozenset[str]:
    values = [value for name, value in request.query.items() if name in ("event_deltas[]", "event_deltas")]
    if len(values) > EVENT_DELTAS_MAX:
        raise RejectedError(f"event_deltas: at most {EVENT_DELTAS_MAX} values", field="event_deltas")
    for value in values:
        if value not in PREVIEWABLE:
            allowed = " or ".join(sorted(PREVIEWABLE))
            raise RejectedError(f"event_deltas: must be {allowed}, found {value!r}", field="event_deltas")
    return frozenset(values)


async def _resume_position(request: web.Request, context: Context, session_id: str) -> int | None:
    event_id = request.headers.get(LAST_EVENT_ID)
    if not event_id:
        return None
    position = await context.log.position(session_id, event_id)
    if position is None:
        raise RejectedError(
            f"{LAST_EVENT_ID}: {event_id!r} is no event of this session; leave the header out and list the events",
            field=LAST_EVENT_ID,
        )
    return position
