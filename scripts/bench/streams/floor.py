"""The floor: asyncio protocols that write the same bytes to the same readers, and do nothing else.

It is told to append by the same HTTP request and obeys the same commands as the server, so that its clients, too, do
the same work.
"""

import asyncio
import itertools
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import orjson

from bench.streams.child import obey, usage

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_STORED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"

LOG_CHUNK_BYTES = 128 * 1024
"""How much of its log it writes at once to a reader that comes back."""


class Floor:
    """Readers by session, and the commands of the child."""

    def __init__(self) -> None:
        self.readers: defaultdict[str, set[asyncio.Transport]] = defaultdict(set)
        self.log: list[bytes] = []
        self._stamps: list[tuple[str, int, int]] = []
        self._positions: defaultdict[str, Iterator[int]] = defaultdict(lambda: itertools.count(1))

    def append(self, session: str, event: Mapping[str, Any]) -> None:
        """Write an event to every reader of a session."""
        position = next(self._positions[session])
        self._stamps.append((session, position, time.monotonic_ns()))
        chunk = _chunk(_frame(orjson.dumps(event), str(event["id"]), position))
        for transport in self.readers[session]:
            transport.write(chunk)

    async def prepare(self, asked: Mapping[str, Any]) -> Any:
        return [[f"{asked['name']}-{number}", "pod", 1] for number in range(asked["count"])]

    async def fill(self, asked: Mapping[str, Any]) -> Any:
        """Make a log: its first event is what the readers saw, the rest is what they get."""
        body = b'{"id":"sevt_%020d","type":"agent.message","content":[{"type":"text","text":"%b"}]}'
        frames = [
            _frame(body % (number, b"x" * asked["bytes"]), f"sevt_{number:020d}", number)
            for number in range(2, asked["count"] + 1)
        ]
        self.log = list(_chunks(frames))
        return "sevt_1"

    async def usage(self, _: Mapping[str, Any]) -> Any:
        return usage()

    async def stamps(self, _: Mapping[str, Any]) -> Any:
        taken, self._stamps = self._stamps, []
        return taken

    async def open(self, _: Mapping[str, Any]) -> Any:
        return sum(len(readers) for readers in self.readers.values())


def _frame(body: bytes, event_id: str, position: int) -> bytes:
    shown = b'%b,"processed_at":"2026-01-02T03:04:05.678901Z","position":%d}' % (body[:-1], position)
    return b"id: %b\nevent: agent.message\ndata: %b\n\n" % (event_id.encode(), shown)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _chunks(frames: Sequence[bytes]) -> Iterator[bytes]:
    each = max(1, LOG_CHUNK_BYTES // len(frames[0]))
    for start in range(0, len(frames), each):
        yield _chunk(b"".join(frames[start : start + each]))


class _Connection(asyncio.Protocol):
    def __init__(self, floor: Floor) -> None:
        self._floor = floor
        self._session = ""
        self._left: Iterator[bytes] = iter(())
        self._paused = False
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        session = head.split(b" ", 2)[1].decode().split("/sessions/")[1].split("/")[0]
        if head.startswith(b"GET"):
            self._read(session, resumed=b"Last-Event-ID" in head)
        elif len(body) < _length(head):
            return
        else:
            self._floor.append(session, orjson.loads(body)["events"][0])
            self._transport.write(_STORED)
        self._received = b""

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._write_log()

    def connection_lost(self, _: Exception | None) -> None:
        self._floor.readers[self._session].discard(self._transport)

    def _read(self, session: str, *, resumed: bool) -> None:
        self._session = session
        self._transport.write(_HEAD)
        self._floor.readers[session].add(self._transport)
        if resumed:
            self._left = iter(self._floor.log)
            self._write_log()

    def _write_log(self) -> None:
        while not self._paused and (chunk := next(self._left, None)) is not None:
            self._transport.write(chunk)


def _length(head: bytes) -> int:
    return next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))


async def _main() -> None:
    floor = Floor()
    listening = await asyncio.get_running_loop().create_server(lambda: _Connection(floor), "127.0.0.1", 0, backlog=1024)
    url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    commands = {
        "prepare": floor.prepare,
        "fill": floor.fill,
        "usage": floor.usage,
        "stamps": floor.stamps,
        "open": floor.open,
    }
    await obey({"public": url, "internal": url}, commands)


if __name__ == "__main__":
    asyncio.run(_main())
