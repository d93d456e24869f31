"""`/healthz` for the kubelet and `/metrics` for Prometheus."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import generate_latest

from managed_agents.operator.metrics import Metrics


@asynccontextmanager
async def serve_health(port: int, metrics: Metrics, is_healthy: Callable[[], bool]) -> AsyncIterator[int]:
    """Serve while the context is open; yields the port, chosen by the system when 0 was asked for."""

    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"healthy": is_healthy()}, status=200 if is_healthy() else 503)

    async def scrape(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(metrics.registry), content_type="text/plain")

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/metrics", scrape)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, port=port)
        await site.start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
