"""The two listeners: the public port with its own kind of connection and TLS, the internal one in plain HTTP."""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import structlog
from aiohttp import web

from managed_agents.server.connection import ApiConnection
from managed_agents.server.middleware import refused_before_routing
from managed_agents.server.settings import Settings

BACKLOG = 1024

BaseHandler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

_log = structlog.get_logger(__name__)


async def listen_public(stack: contextlib.AsyncExitStack, settings: Settings, app: web.Application) -> str:
    """Serve the public API until the stack ends; return its URL. Raises: OSError, ssl.SSLError."""
    runner = await _runner(stack, settings, app)
    server, loop = runner.server, asyncio.get_running_loop()
    if server is None:
        raise RuntimeError("the application was not set up")
    server.request_handler = _enveloped(server.request_handler)
    certificate = _certificate(settings)
    if certificate is not None:
        following = asyncio.create_task(certificate.follow(settings.tls_refresh_seconds))
        stack.push_async_callback(_stop, following)
    listener = await loop.create_server(
        lambda: ApiConnection(server, loop=loop, connections_max=settings.connections_max),
        settings.host,
        settings.public_port,
        backlog=BACKLOG,
        ssl=None if certificate is None else certificate.context,
    )
    stack.callback(listener.close)
    scheme = "http" if certificate is None else "https"
    return _url(scheme, *listener.sockets[0].getsockname()[:2])


def _enveloped(handle: BaseHandler) -> BaseHandler:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await handle(request)
        except web.HTTPException as error:
            return refused_before_routing(error.status, error.reason, request)
        except UnicodeEncodeError:
            return refused_before_routing(400, "a header holds bytes that are no UTF-8", request)

    return handler


async def listen_internal(stack: contextlib.AsyncExitStack, settings: Settings, app: web.Application) -> str:
    """Serve the internal API until the stack ends; return its URL. Raises: OSError."""
    runner = await _runner(stack, settings, app)
    await web.TCPSite(runner, settings.host, settings.internal_port, backlog=BACKLOG).start()
    return _url("http", *runner.addresses[0][:2])


@dataclass(frozen=True, slots=True)
class Certificate:
    """What the public port shows, read again when its files change: new connections get the new one."""

    cert: Path
    key: Path
    context: ssl.SSLContext

    async def follow(self, seconds: float) -> None:
        """Look for a change of the files until cancelled. What cannot be used is told of, and the old one stays."""
        seen = self._stamp()
        while True:
            await asyncio.sleep(seconds)
            stamp = self._stamp()
            if stamp == seen:
                continue
            seen = stamp
            try:
                _tls_context().load_cert_chain(self.cert, self.key)  # half a pair must not reach the one in use
                self.context.load_cert_chain(self.cert, self.key)
            except OSError as error:  # ssl.SSLError among them
                _log.warning("tls_certificate_not_usable", reason=str(error))
            else:
                _log.info("tls_certificate_read")

    def _stamp(self) -> tuple[int, ...]:
        try:
            return tuple(path.stat().st_mtime_ns for path in (self.cert, self.key))
        except OSError:
            return ()


def _certificate(settings: Settings) -> Certificate | None:
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    context = _tls_context()
    context.load_cert_chain(settings.tls_cert, settings.tls_key)
    return Certificate(settings.tls_cert, settings.tls_key, context)


def _tls_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


async def _runner(stack: contextlib.AsyncExitStack, settings: Settings, app: web.Application) -> web.AppRunner:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=settings.shutdown_seconds, handler_cancellation=True)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    return runner


async def _stop(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _url(scheme: str, host: str, port: int) -> str:
    return f"{scheme}://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"  # noqa: S104 - for display
