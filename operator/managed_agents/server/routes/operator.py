"""The internal calls of the operator (docs/internal-api.md)."""

from typing import Any

import orjson
from aiohttp import web

from managed_agents.contracts.errors import ConflictError, NotFoundError, RejectedError
from managed_agents.eventlog.intents import Identity
from managed_agents.eventlog.records import Config, HarnessPod, Sandbox, WarmHarness
from managed_agents.server.context import Context, context_of
from managed_agents.server.middleware import json_response
from managed_agents.server.routes import access, bodies

_SANDBOX_STATES = {"pending": "wanted", "ready": "ready", "gone": "gone"}


def add_routes(app: web.Application) -> None:
    """Add the operator's calls."""
    app.router.add_put("/internal/v1/sessions/{session_id}", put_session)
    app.router.add_delete("/internal/v1/sessions/{session_id}", delete_session)
    app.router.add_put("/internal/v1/harness-pods/{pod_uid}", put_harness_pod)
    app.router.add_delete("/internal/v1/harness-pods/{pod_uid}", delete_harness_pod)
    app.router.add_put("/internal/v1/warm-harnesses/{deployment_uid}/{pod_uid}", put_warm_harness)
    app.router.add_delete("/internal/v1/warm-harnesses/{deployment_uid}", delete_warm_harness)
    app.router.add_delete("/internal/v1/warm-harnesses/{deployment_uid}/{pod_uid}", delete_warm_harness)
    app.router.add_put("/internal/v1/sandboxes/{namespace}/{pod_name}", put_sandbox)
    app.router.add_get("/internal/v1/watch", watch)


async def put_session(request: web.Request) -> web.Response:
    """Create or update a session."""
    await access.operator(request)
    body, session_id = await bodies.json_object(request), request.match_info["session_id"]
    events = bodies.objects(body, "events")
    for event in events:
        bodies.text(event, "name")
        bodies.optional_text(event, "manager")
    config = _config(body, session_id)
    await _bind(request, bodies.optional_text(body, "intent"), config)
    summary = await context_of(request).sessions.put(
        session_id, config, events, archived=bool(body.get("archived", False))
    )
    return json_response(summary)


async def _bind(request: web.Request, key: str | None, config: Config | None) -> None:
    """Make the session of the intent that its object was created for, unless that is done."""
    if key is None or config is None:
        return
    identity = Identity(id=config["id"], uid=config["uid"], generation=config.get("generation", 1))
    await context_of(request).intents.bind(key, identity, config["namespace"], config["name"])


def _config(body: dict[str, Any], session_id: str) -> Config | None:
    """Return the config of a PUT, null to keep the one that is stored. Raises: RejectedError."""
    config = body.get("config")
    if config is None:
        return None
    if not isinstance(config, dict):
        raise RejectedError("config: must be an object", field="config")
    for name in ("id", "uid", "namespace", "name"):
        bodies.text(config, name)
    if config["id"] != session_id:
        raise RejectedError("config.id: must be the id of the path", field="config.id")
    return config


async def delete_session(request: web.Request) -> web.Response:
    """Remove a session, where a namespace is named only one of that namespace."""
    await access.operator(request)
    await context_of(request).sessions.delete(request.match_info["session_id"], request.query.get("namespace"))
    return web.Response(status=204)


async def put_harness_pod(request: web.Request) -> web.Response:
    """Register a harness Pod."""
    await access.operator(request)
    context, body = context_of(request), await bodies.json_object(request)
    pod = HarnessPod(
        pod_uid=request.match_info["pod_uid"],
        namespace=bodies.text(body, "namespace"),
        pod_name=bodies.text(body, "pod_name"),
        deployment_uid=bodies.text(body, "deployment_uid"),
        session_id=bodies.text(body, "session_id"),
    )
    if (await context.log.session(pod.session_id)).namespace != pod.namespace:
        raise ConflictError(f"session {pod.session_id} belongs to another namespace than the Pod")
    await context.log.register(pod)
    context.leases.registered(pod.pod_uid)
    return web.Response(status=204)


async def delete_harness_pod(request: web.Request) -> web.Response:
    """Forget a harness Pod."""
    await access.operator(request)
    context, pod_uid = context_of(request), request.match_info["pod_uid"]
    await context.log.unregister(pod_uid)
    context.leases.unregistered(pod_uid)
    return web.Response(status=204)


async def put_warm_harness(request: web.Request) -> web.Response:
    """Offer a harness Pod to any session of its namespace and image."""
    await access.operator(request)
    context, body = context_of(request), await bodies.json_object(request)
    warm = WarmHarness(
        pod_uid=request.match_info["pod_uid"],
        namespace=bodies.text(body, "namespace"),
        image=bodies.optional_text(body, "image") or "",  # none stands for the operator's own
        pod_name=bodies.text(body, "pod_name"),
        deployment_name=bodies.text(body, "deployment_name"),
        deployment_uid=request.match_info["deployment_uid"],
    )
    await context.log.offer_harness(warm)
    context.leases.registered(warm.pod_uid)
    return web.Response(status=204)


async def delete_warm_harness(request: web.Request) -> web.Response:
    """Take a warm Deployment's Pods back, or one of them; 409 once a session has it."""
    await access.operator(request)
    context, names = context_of(request), request.match_info
    for pod_uid in await context.log.withdraw_harness(names["deployment_uid"], names.get("pod_uid")):
        context.leases.registered(pod_uid)
    return web.Response(status=204)


async def put_sandbox(request: web.Request) -> web.Response:
    """Store what the operator saw of a sandbox Pod."""
    await access.operator(request)
    body = await bodies.json_object(request)
    state = _SANDBOX_STATES.get(str(body.get("state")))
    if state is None:
        raise RejectedError("state: must be pending, ready or gone", field="state")
    if state == "ready":
        bodies.text(body, "address")
    await context_of(request).sessions.report_sandbox(bodies.text(body, "session_id"), _report(request, body, state))
    return web.Response(status=204)


def _report(request: web.Request, body: dict[str, Any], state: Any) -> Sandbox:
    return Sandbox(
        namespace=request.match_info["namespace"],
        pod_name=request.match_info["pod_name"],
        generation=0,
        state=state,
        bind_token="",
        binding_secret="",
        pod_uid=bodies.optional_text(body, "pod_uid"),
        address=bodies.optional_text(body, "address"),
        reason=bodies.optional_text(body, "reason"),
        message=bodies.optional_text(body, "message"),
    )


async def watch(request: web.Request) -> web.StreamResponse:
    """Send every session's summary, then each change, until the caller goes away."""
    await access.operator(request)
    context = context_of(request)
    with context.feed.watch() as changes:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson", "Cache-Control": "no-cache"})
        await response.prepare(request)
        for session_id in await context.log.sessions():
            await response.write(await _line(context, session_id))
        await response.write(b'{"type":"SYNCED"}\n')
        while not changes.closed:
            changed = await changes.take(context.settings.watch_heartbeat_seconds)
            for session_id in changed:
                await response.write(await _line(context, session_id))
            if not changed and not changes.closed:
                await response.write(b'{"type":"HEARTBEAT"}\n')
    return response


async def _line(context: Context, session_id: str) -> bytes:
    try:
        summary = await context.sessions.summary(session_id)
    except NotFoundError:
        return orjson.dumps({"type": "DELETED", "id": session_id}, option=orjson.OPT_APPEND_NEWLINE)
    return orjson.dumps({"type": "SESSION", "summary": summary}, option=orjson.OPT_APPEND_NEWLINE)
