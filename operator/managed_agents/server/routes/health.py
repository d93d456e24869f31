"""Probes and metrics, open to all: they show nothing of any session."""

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from managed_agents.server.context import context_of
from managed_agents.server.middleware import json_response


def add_routes(app: web.Application) -> None:
    """Add the probes."""
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)


async def healthz(_: web.Request) -> web.Response:
    """Answer while the process lives."""
    return json_response({"status": "ok"})


async def readyz(request: web.Request) -> web.Response:
    """Answer 200 while the log can store and, from the start, once the custom resources have been read."""
    context = context_of(request)
    status = "log_failed" if not context.log.healthy else "reading_objects" if not context.objects.synced else "ok"
    return json_response({"status": status}, 200 if status == "ok" else 503)


async def metrics(request: web.Request) -> web.Response:
    """Return the metrics in Prometheus' text form."""
    body = generate_latest(context_of(request).metrics.registry)
    return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})
