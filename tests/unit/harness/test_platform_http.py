"""Appends of a harness: over the lease's connection, and by a request wherever that leaves a doubt."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web

from managed_agents.contracts.errors import FencedError, HeadMismatchError
from managed_agents.harness.platform import Lease
from managed_agents.harness.platform_http import HttpPlatform
from managed_agents.harness.settings import Settings
from support.requirements import requirement

EVENT = {"id": "sevt_1", "type": "agent.message", "content": []}
RECEIPT = {"head": 4, "events": [{"id": "sevt_1", "position": 4, "processed_at": "2026-01-02T03:04:05Z"}]}
Socket = web.WebSocketResponse
Answering = Callable[[Socket, dict[str, Any]], Awaitable[None]]


async def stores(socket: Socket, frame: dict[str, Any]) -> None:
    await socket.send_json({"type": "answer", "call": frame["call"], "status": 200, "body": RECEIPT})


def refuses(status: int, kind: str, **more: Any) -> Answering:
    async def answering(socket: Socket, frame: dict[str, Any]) -> None:
        error = {"error": {"type": kind, "message": "m", **more}}
        await socket.send_json({"type": "answer", "call": frame["call"], "status": status, "body": error})

    return answering


async def vanishes(socket: Socket, _: dict[str, Any]) -> None:
    await socket.close()


async def says_nothing(_socket: Socket, _frame: dict[str, Any]) -> None:
    pass


class Server:
    """Leases one session; notes what is appended over the connection and by POST."""

    def __init__(self) -> None:
        self.answering: Answering = stores
        self.takes_appends = True
        self.framed: list[Any] = []
        self.posted: list[Any] = []

    async def wake(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        lease = {"type": "lease", "session": {"id": "sesn_1"}, "epoch": 3, "head": 3}
        await socket.send_json({**lease, "appends": True} if self.takes_appends else lease)
        async for message in socket:
            frame = message.json()
            if frame["type"] == "append":
                self.framed.append(frame["body"])
                await self.answering(socket, frame)
        return socket

    async def post(self, request: web.Request) -> web.StreamResponse:
        self.posted.append(orjson.loads(await request.read()))
        return web.json_response(RECEIPT)


@pytest.fixture
def server() -> Server:
    return Server()


@asynccontextmanager
async def leased(server: Server, *, seconds: float = 5.0) -> AsyncIterator[HttpPlatform]:
    """Hold a lease whose news are read, as a worker does."""
    app = web.Application(client_max_size=2**26)
    app.router.add_get("/internal/v1/wake", server.wake)
    app.router.add_post("/internal/v1/sessions/sesn_1/events", server.post)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    settings = replace(Settings(), session_url=f"http://127.0.0.1:{runner.addresses[0][1]}", call_seconds=seconds)
    async with aiohttp.ClientSession() as http:
        platform = HttpPlatform(http, settings)
        async with platform.wake() as lease:
            reading = asyncio.create_task(_read(lease))
            try:
                yield platform
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
    await runner.cleanup()


async def _read(lease: Lease) -> None:
    async for _ in lease:
        pass


async def emit(platform: HttpPlatform, *, epoch: int = 3, **more: Any) -> int:
    async with asyncio.timeout(5):
        receipt = await platform.emit_event("sesn_1", epoch, [{**EVENT, **more}], expected_head=3)
    assert list(receipt.stamps) == RECEIPT["events"]
    return receipt.head


@requirement("append-lease")
async def test_an_append_takes_the_lease_s_connection(server: Server) -> None:
    async with leased(server) as platform:
        assert [await emit(platform), await emit(platform)] == [4, 4]
    body = {"epoch": 3, "events": [EVENT], "processed": [], "expected_head": 3}
    assert (server.framed, server.posted) == ([body, body], [])


@requirement("append-lease")
@pytest.mark.parametrize("answering", [vanishes, says_nothing, refuses(503, "unavailable")])
async def test_an_append_of_unknown_outcome_is_repeated_by_a_request_with_the_same_ids(
    server: Server, answering: Answering
) -> None:
    server.answering = answering
    async with leased(server, seconds=0.2) as platform:
        assert await emit(platform) == 4
    assert server.posted == server.framed
    assert len(server.posted) == 1


@requirement("append-lease")
async def test_refusals_over_the_connection_are_those_of_a_request(server: Server) -> None:
    async with leased(server) as platform:
        server.answering = refuses(409, "fenced")
        with pytest.raises(FencedError):
            await emit(platform)
        server.answering = refuses(412, "head_mismatch", head=9)
        with pytest.raises(HeadMismatchError) as mismatch:
            await emit(platform)
    assert (mismatch.value.head, server.posted) == (9, [])


@requirement("append-lease")
async def test_what_the_connection_is_not_for_is_sent_by_a_request(server: Server) -> None:
    async with leased(server) as platform:
        await emit(platform, epoch=2)
        await emit(platform, text="x" * 600_000)
    assert (len(server.posted), server.framed) == (2, [])


@requirement("append-lease")
async def test_a_server_that_does_not_take_appends_on_the_connection_gets_requests(server: Server) -> None:
    server.takes_appends = False
    async with leased(server) as platform:
        await emit(platform)
    assert (len(server.posted), server.framed) == (1, [])
