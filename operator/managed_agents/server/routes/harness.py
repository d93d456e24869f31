"""The internal calls of a harness, and those it shares with the operator (docs/internal-api.md)."""

from typing import Any

from aiohttp import web

from managed_agents.contracts.errors import RejectedError
from managed_agents.eventlog.records import Appended, Slice
from managed_agents.eventlog.store import Append
from managed_agents.server.context import Context, context_of
from managed_agents.server.middleware import json_bytes, json_response
from managed_agents.server.routes import access, bodies
from managed_agents.server.services.query import parse_number

SLICE_MAX = 1000
WAIT_SECONDS_MAX = 60.0
"""A call waits no longer than this; its caller calls again."""

APPEND_EVENTS_MAX = 1000


def add_routes(app: web.Application) -> None:
    """Add the harness's calls."""
    app.router.add_get("/internal/v1/sessions/{session_id}", get_session)
    app.router.add_post("/internal/v1/sessions/{session_id}/release", release)
    app.router.add_get("/internal/v1/sessions/{session_id}/events", get_events)
    app.router.add_post("/internal/v1/sessions/{session_id}/events", emit_events)
    app.router.add_post("/internal/v1/sessions/{session_id}/sandbox", claim_sandbox)
    app.router.add_get("/internal/v1/sessions/{session_id}/sandbox/{pod_name}", get_sandbox)


async def get_session(request: web.Request) -> web.Response:
    """Return the summary to the operator; config, head, epoch and status to a harness."""
    identity = await access.operator_or_harness(request)
    context, session_id = context_of(request), request.match_info["session_id"]
    if identity.is_operator:
        return json_response(await context.sessions.summary(session_id))
    session, config = await context.log.session(session_id), await context.log.config(session_id)
    projection = session.projection
    return json_response(
        {"config": config, "head": projection.head, "epoch": session.epoch, "status": projection.status}
    )


async def release(request: web.Request) -> web.Response:
    """Release the session's harness."""
    await access.operator_or_harness(request)
    epoch = bodies.number(await bodies.json_object(request), "epoch")
    return json_response(await context_of(request).sessions.release(request.match_info["session_id"], epoch))


async def get_events(request: web.Request) -> web.Response:
    """Return a slice of the log. It may hold fewer events than asked for; it is at the end when it is empty."""
    session_id, context = await access.harness(request), context_of(request)
    wanted = Slice(
        after=_query_number(request, "after_position", 0, 1 << 32),
        limit=max(_query_number(request, "limit", SLICE_MAX, SLICE_MAX), 1),
    )
    events = await context.log.read(session_id, wanted)
    head = (await context.log.session(session_id)).projection.head
    return json_bytes(b'{"events":[%b],"head":%d}' % (b",".join(event.logged() for event in events), head))


async def emit_events(request: web.Request) -> web.Response:
    """Append a harness's events."""
    session_id = await access.harness(request)
    return json_response(await emitted(context_of(request), session_id, await bodies.json_object(request)))


async def emitted(context: Context, session_id: str, body: dict[str, Any]) -> dict[str, Any]:
    """Append what a body says, for a Pod that is registered for the session, and return the answer.

    Raises: RejectedError, and as `EventLog.append`.
    """
    append = _append(session_id, body)
    context.timings.tell(session_id, append.epoch, body.get("timing"))
    with context.metrics.append_seconds.time():
        appended = await context.sessions.emit(append)
    context.metrics.events.labels("harness").inc(len(appended.events))
    return _appended(appended)


def _append(session_id: str, body: dict[str, Any]) -> Append:
    events, processed = bodies.objects(body, "events"), body.get("processed") or []
    if len(events) > APPEND_EVENTS_MAX:
        raise RejectedError(f"events: at most {APPEND_EVENTS_MAX} in one append", field="events")
    for event in events:
        bodies.text(event, "id")
        bodies.text(event, "type")
    if not isinstance(processed, list) or not all(isinstance(item, str) for item in processed):
        raise RejectedError("processed: must be a list of event ids", field="processed")
    if len({event["id"] for event in events}) != len(events):
        raise RejectedError("events: an id occurs twice", field="events")
    return Append(
        session=session_id,
        events=events,
        epoch=bodies.number(body, "epoch"),
        processed=processed,
        expected_head=bodies.optional_number(body, "expected_head"),
    )


def _appended(appended: Appended) -> dict[str, Any]:
    events = [
        {"id": event.id, "position": event.position, "processed_at": event.processed_at} for event in appended.events
    ]
    return {"head": appended.head, "events": events, "processed_at": appended.at}


async def claim_sandbox(request: web.Request) -> web.Response:
    """Return the session's sandbox with its secrets once it is ready."""
    session_id, body = await access.harness(request), await bodies.json_object(request)
    if body.get("name", "default") != "default":
        raise RejectedError("name: this version has one sandbox a session, `default`", field="name")
    context = context_of(request)
    if body.get("existing") is True and not await context.sessions.has_sandbox(session_id):
        nothing = {"reason": "None", "message": "the session has no sandbox now"}
        return json_response({"state": "pending", "pod_name": None, "generation": None, **nothing})
    sandbox = await context.sessions.claim_sandbox(
        session_id,
        bodies.number(body, "epoch"),
        bodies.seconds(body.get("wait_seconds", 0), "wait_seconds", WAIT_SECONDS_MAX),
    )
    answer = {"state": "pending", "pod_name": sandbox.pod_name, "generation": sandbox.generation}
    if sandbox.state != "ready":
        return json_response(answer | {"reason": sandbox.reason, "message": sandbox.message})
    return json_response(
        answer
        | {
            "state": "ready",
            "address": sandbox.address,
            "bind_token": sandbox.bind_token,
            "binding_secret": sandbox.binding_secret,
        }
    )


async def get_sandbox(request: web.Request) -> web.Response:
    """Return what became of a sandbox."""
    session_id = await access.harness(request)
    wait = bodies.seconds(request.query.get("wait_seconds", "0"), "wait_seconds", WAIT_SECONDS_MAX)
    sandbox = await context_of(request).sessions.sandbox(session_id, request.match_info["pod_name"], wait)
    return json_response({"state": sandbox.state, "reason": sandbox.reason, "message": sandbox.message})


def _query_number(request: web.Request, name: str, default: int, most: int) -> int:
    value = parse_number(name, request.query.get(name), 0, most)
    return default if value is None else value
