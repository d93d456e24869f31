"""Liveness and readiness for the kubelet, on the proxy's one port that is not loopback (7300)."""

from collections.abc import Callable

from aiohttp import web


def health_routes(is_ready: Callable[[], bool]) -> list[web.RouteDef]:
    """Return `/healthz`, 200 while the process serves, and `/readyz`, 200 while a wake socket leads to the server."""

    async def healthz(_request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_request: web.Request) -> web.Response:
        if is_ready():
            return web.Response(text="ok\n")
        return web.Response(status=503, text="no wake socket is open\n")

    return [web.get("/healthz", healthz), web.get("/readyz", readyz)]
