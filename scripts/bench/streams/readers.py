"""Clients that do little but note when an event arrived: they share the machine with what is measured."""

import asyncio
import re
import socket
import time
from collections.abc import Sequence
from typing import cast
from urllib.parse import urlsplit

from support.server import USER_TOKEN

_POSITION = re.compile(rb'"position":(\d+)\}\n')
_TAIL = 32
_STALLED_BUFFER = 4096
OPEN_SECONDS = 60.0
OPENING_MAX = 100
"""Connections on their way at once."""


_EVENT = b"\nevent: "
_shared = bytearray(256 * 1024)
"""What every counting reader receives into: one at a time, and allocating it anew costs more than the receiving."""


class Connected(asyncio.BaseProtocol):
    """One stream, asked for as soon as it is connected."""

    def __init__(self, session: str, *, stalled: bool = False, last_event_id: str | None = None) -> None:
        self.session = session
        self.stalled = stalled
        self.opened = asyncio.Event()
        self._last_event_id = last_event_id
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        resume = f"Last-Event-ID: {self._last_event_id}\r\n" if self._last_event_id else ""
        path = f"/v1/sessions/{self.session}/events/stream"
        self._transport.write(
            f"GET {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {USER_TOKEN}\r\n{resume}\r\n".encode()
        )

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _open(self, data: bytes) -> None:
        if not data.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(data.decode(errors="replace"))
        self.opened.set()
        if self.stalled and self._transport is not None:
            self._transport.pause_reading()


class Reader(Connected, asyncio.Protocol):
    """One that notes when each event arrived: `seen` holds `(position, monotonic ns)`."""

    def __init__(self, session: str, *, stalled: bool) -> None:
        super().__init__(session, stalled=stalled)
        self.seen: list[tuple[int, int]] = []
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        if not self.opened.is_set():
            self._open(data)
        data = self._rest + data
        end = 0
        for found in _POSITION.finditer(data):
            self.seen.append((int(found[1]), now))
            end = found.end()
        self._rest = data[max(end, len(data) - _TAIL) :]


class Counter(Connected, asyncio.BufferedProtocol):
    """One that only counts events, for long logs."""

    def __init__(self, session: str, last_event_id: str) -> None:
        super().__init__(session, last_event_id=last_event_id)
        self.count = 0
        self._rest = b""

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - as large as there is
        return memoryview(_shared)[len(self._rest) :]

    def buffer_updated(self, nbytes: int) -> None:
        end = len(self._rest) + nbytes
        _shared[: len(self._rest)] = self._rest
        if not self.opened.is_set():
            self._open(bytes(_shared[:end]))
        self.count += _shared.count(_EVENT, 0, end)
        self._rest = bytes(_shared[max(0, end - len(_EVENT) + 1) : end])


async def open_readers(url: str, sessions: Sequence[str], *, stalled: int = 0) -> list[Reader]:
    """Open a stream for each entry of `sessions`; the first `stalled` ones stop reading after the headers."""
    readers = [Reader(session, stalled=number < stalled) for number, session in enumerate(sessions)]
    await _open_all(url, readers)
    return readers


async def open_counters(url: str, session: str, count: int, last_event_id: str) -> list[Counter]:
    """Open that many streams of a session, all of which resume after the same event."""
    counters = [Counter(session, last_event_id) for _ in range(count)]
    await _open_all(url, counters)
    return counters


async def _open_all(url: str, readers: Sequence[Connected]) -> None:
    gate = asyncio.Semaphore(OPENING_MAX)

    async def opened(reader: Connected) -> None:
        async with gate:
            await _connect(url, reader)
            await reader.opened.wait()

    async with asyncio.timeout(OPEN_SECONDS):
        await asyncio.gather(*map(opened, readers))


async def _connect(url: str, reader: Connected) -> None:
    address = urlsplit(url)
    plain = socket.socket()
    if reader.stalled:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _STALLED_BUFFER)
    plain.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(plain, (address.hostname, address.port))
    await loop.create_connection(lambda: reader, sock=plain)
