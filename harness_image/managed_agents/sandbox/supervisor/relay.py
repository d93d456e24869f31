"""The sandbox's way out: `127.0.0.1:3128`, where each connection of a tool becomes one of those its proxy left waiting.

Bytes only: what they ask for is the proxy's to read and to decide (docs/egress.md).
"""

from __future__ import annotations

import asyncio
from asyncio import StreamReader, StreamWriter
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from managed_agents.sandbox.supervisor.logs import log

START = b"\x01"  # sent when a tool has come; the proxy repeats it, which tells that it is still there
WAITING_MAX = 32
TUNNELS_MAX = 256  # connections of tools, waiting ones included
WAIT_SECONDS = 10.0  # for a connection of the proxy; a proxy that restarts is back sooner
ANSWER_SECONDS = 2.0  # for the repeated byte
CHUNK_BYTES = 32 * 1024
_REFUSED = (
    "HTTP/1.1 503 Service Unavailable (sandbox network: {why})\r\nContent-Type: text/plain\r\n"
    "Content-Length: {size}\r\nConnection: close\r\n\r\nsandbox network: {why}\n"
)


@dataclass(eq=False)
class _Offer:
    """A connection of the proxy that no tool has yet."""

    epoch: int
    reader: StreamReader
    writer: StreamWriter
    is_started: bool = False
    answered: asyncio.Future[bool] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    over: asyncio.Event = field(default_factory=asyncio.Event)


class Relay:
    """Joins tools' connections to the proxy's. Neither side holds more than two chunks here."""

    def __init__(self) -> None:
        self._offers: deque[_Offer] = deque()
        self._came = asyncio.Condition()
        self._tunnels: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen for tools; returns the port."""
        self._server = await asyncio.start_server(self._serve, host, port, limit=CHUNK_BYTES, backlog=128)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening and drop all connections."""
        if self._server is not None:
            self._server.close()
        for tunnel in self._tunnels:
            tunnel.cancel()
        await asyncio.gather(*self._tunnels, return_exceptions=True)

    async def offer(self, epoch: int, reader: StreamReader, writer: StreamWriter) -> None:
        """Hold a connection of the proxy until a tool has used it, or it breaks. An older harness' ones go first."""
        for older in [offer for offer in self._offers if offer.epoch < epoch]:
            self._drop(older)
        if len(self._offers) >= WAITING_MAX:
            return
        offer = _Offer(epoch=epoch, reader=reader, writer=writer)
        async with self._came:
            self._offers.append(offer)
            self._came.notify()
        try:
            byte = await reader.read(1)
            if byte == START and offer.is_started:
                offer.answered.set_result(True)
                await offer.over.wait()
        finally:
            self._drop(offer)

    def _drop(self, offer: _Offer) -> None:
        with suppress(ValueError):
            self._offers.remove(offer)
        if not offer.answered.done():
            offer.answered.set_result(False)
        offer.writer.close()

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - start_server runs this in a task
        self._tunnels.add(task)
        try:
            if len(self._tunnels) > TUNNELS_MAX:
                await _refuse(writer, f"more than {TUNNELS_MAX} connections are open; close some")
                return
            offer = await self._take()
            if offer is None:
                await _refuse(writer, "the session's proxy is not connected; try again")
                return
            try:
                await _join(reader, writer, offer.reader, offer.writer)
            finally:
                offer.over.set()
        except OSError:  # either side went away
            return
        except asyncio.CancelledError:  # by close(), and this task has nothing else to do
            return
        finally:
            self._tunnels.discard(task)
            writer.close()

    async def _take(self) -> _Offer | None:
        """Return a connection whose proxy has answered; one that is silent is dropped for the next."""
        with suppress(TimeoutError):
            async with asyncio.timeout(WAIT_SECONDS):
                while True:
                    async with self._came:
                        await self._came.wait_for(lambda: bool(self._offers))
                        offer = self._offers.popleft()
                    if await _answers(offer):
                        return offer
                    log("info", "relay connection dropped", epoch=offer.epoch)
        return None


async def _answers(offer: _Offer) -> bool:
    offer.is_started = True
    is_there = False
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            offer.writer.write(START)
            await offer.writer.drain()
            is_there = await asyncio.shield(offer.answered)
    except OSError:  # TimeoutError among them
        is_there = False
    finally:
        if not is_there:  # also where the tool's own wait is over: an answer that still comes finds nobody
            offer.over.set()
            offer.writer.close()
    return is_there


async def _join(tool: StreamReader, to_tool: StreamWriter, proxy: StreamReader, to_proxy: StreamWriter) -> None:
    """Copy both ways, with half-close, until both have ended or one breaks."""
    directions = [asyncio.ensure_future(_copy(tool, to_proxy)), asyncio.ensure_future(_copy(proxy, to_tool))]
    try:
        await asyncio.gather(*directions)
    finally:
        for direction in directions:
            direction.cancel()
        await asyncio.gather(*directions, return_exceptions=True)


async def _copy(reader: StreamReader, writer: StreamWriter) -> None:
    while chunk := await reader.read(CHUNK_BYTES):
        writer.write(chunk)
        await writer.drain()
    with suppress(OSError):
        writer.write_eof()


async def _refuse(writer: StreamWriter, why: str) -> None:
    body_bytes = len(f"sandbox network: {why}\n")
    writer.write(_REFUSED.format(why=why, size=body_bytes).encode("ascii"))
    await writer.drain()
