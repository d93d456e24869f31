"""A real MCP server on loopback, made with the official package, over either of its transports."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import uvicorn
from aiohttp import web
from mcp.server import MCPServer
from mcp.server.mcpserver import Context, Image
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 64
Transport = Literal["streamable", "streamable-json", "sse"]


@dataclass
class Seen:
    """One HTTP request that reached the server."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass
class McpWorld:
    """The server, and what a test sees and steers of it."""

    port: int = 0
    path: str = "/mcp"
    seen: list[Seen] = field(default_factory=list)
    effects: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    started: asyncio.Event = field(default_factory=asyncio.Event)
    is_cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    answer: Callable[[Seen], int | None] = lambda _: None
    """Answers a request with a bare status in the server's place."""

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}{self.path}"


def mcp_app(world: McpWorld, transport: Transport = "streamable", **options: Any) -> ASGIApp:
    """Return the server as an ASGI application; `options` are those of the official server."""
    return _watched(world, _app(_server(world, **options), transport))


def _server(world: McpWorld, **options: Any) -> MCPServer:
    server = MCPServer("tracker", **options)

    @server.tool(description="Add two numbers.")
    def add(a: int, b: int) -> str:
        world.effects.append("add")
        return str(a + b)

    @server.tool()
    def picture() -> Image:
        return Image(data=PNG, format="png")

    @server.tool()
    def fail() -> str:
        raise RuntimeError("no such ticket")

    @server.tool()
    def long() -> str:
        return "x" * 100_000 + "the end"

    @server.tool()
    async def slow(ctx: Context[Any, Any]) -> str:
        world.effects.append("slow")
        await ctx.report_progress(1, 2)
        world.started.set()
        try:
            await world.go.wait()
        except BaseException:
            world.cancelled.append("slow")
            world.is_cancelled.set()
            raise
        return "slowly done"

    @server.tool()
    async def steady(ctx: Context[Any, Any]) -> str:
        for step in range(6):
            await ctx.report_progress(step, 6)
            await asyncio.sleep(0.1)
        return "steadily done"

    return server


def _app(server: MCPServer, transport: Transport) -> ASGIApp:
    if transport == "sse":
        return server.sse_app(sse_path="/mcp")
    return server.streamable_http_app(json_response=transport == "streamable-json")


def _watched(world: McpWorld, app: ASGIApp) -> ASGIApp:
    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await app(scope, receive, send)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        seen = Seen(method=scope["method"], path=scope["path"], headers=headers)
        world.seen.append(seen)
        status = world.answer(seen)
        if status is None:
            return await app(scope, receive, send)
        location = (b"location", b"http://169.254.169.254/")
        start: Message = {"type": "http.response.start", "status": status, "headers": [location]}
        await send(start)
        await send({"type": "http.response.body", "body": b"no"})
        return None

    return watched


@asynccontextmanager
async def mcp_server(transport: Transport = "streamable") -> AsyncIterator[McpWorld]:
    """Serve until the block ends."""
    world = McpWorld()
    async with serving(lambda port: _placed(world, port, mcp_app(world, transport))):
        try:
            yield world
        finally:
            world.go.set()


@asynccontextmanager
async def serving(app_at: Callable[[int], ASGIApp]) -> AsyncIterator[None]:
    """Serve the application that is made for a free port of loopback until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as listening:  # who connects before it serves waits in line
        config = uvicorn.Config(app_at(listening.getsockname()[1]), log_config=None, lifespan="on")
        config.timeout_graceful_shutdown = 1
        server = uvicorn.Server(config)
        task = asyncio.create_task(server._serve([listening]))
        try:
            yield
        finally:
            server.should_exit = True
            await task


def _placed(world: McpWorld, port: int, app: ASGIApp) -> ASGIApp:
    world.port = port
    return app


_INITIALIZED = {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "b", "version": "1"}}
_LISTED = {"tools": [{"name": "slow", "inputSchema": {"type": "object"}}]}
_LATE = b'id: 8\ndata: {"jsonrpc": "2.0", "id": %d, "result": {"content": [{"type": "text", "text": "late"}]}}\n\n'


@dataclass
class BreakingServer:
    """A server whose streams break before an answer to a call, and are or are not taken up again."""

    resumes: bool
    port: int = 0
    calls: int = 0
    wanted: int = 0
    last_ids: list[str | None] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}/mcp"

    async def post(self, request: web.Request) -> web.StreamResponse:
        message = await request.json()
        result = {"initialize": _INITIALIZED, "tools/list": _LISTED}.get(message["method"])
        if result is not None:
            return web.json_response({"jsonrpc": "2.0", "id": message["id"], "result": result})
        if "id" not in message:
            return web.Response(status=202)
        self.calls, self.wanted = self.calls + 1, message["id"]
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b'id: 7\nevent: message\ndata: {"jsonrpc": "2.0", "method": "notifications/x"}\n\n')
        return response

    async def get(self, request: web.Request) -> web.StreamResponse:
        self.last_ids.append(request.headers.get("Last-Event-ID"))
        if not self.resumes:
            return web.Response(status=405)
        return web.Response(body=_LATE % self.wanted, content_type="text/event-stream")


@asynccontextmanager
async def breaking_server(*, resumes: bool) -> AsyncIterator[BreakingServer]:
    """Serve until the block ends."""
    server, app = BreakingServer(resumes), web.Application()
    app.add_routes([web.post("/mcp", server.post), web.get("/mcp", server.get)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.port = runner.addresses[0][1]
    try:
        yield server
    finally:
        await runner.cleanup()
