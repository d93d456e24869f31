"""Server-sent events: frames encoded once for all readers, and one bounded buffer a reader (API reference §7)."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from managed_agents.eventlog.records import LoggedEvent
from managed_agents.server.previews import PreviewGate

BUFFER_BYTES_MAX = 4 * 1024 * 1024
"""What one reader may be behind by; a slower one is dropped and resumes with `Last-Event-ID` (F25)."""

BUFFER_FRAMES_MAX = 4096

WRITE_BYTES_MAX = 256 * 1024
"""Of a buffer at once: frames are shared by all readers, what is being written is a reader's own copy."""

PREVIEW_SHARE = 2
"""Previews are left out once the buffer is filled to this part (1/2): they are best effort, events are not."""

HEARTBEAT = b": heartbeat\n\n"


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame as bytes, and as the HTTP chunk that holds it; `at` is the monotonic time at which it was due."""

    data: bytes
    chunk: bytes
    at: float = 0.0


def framed(data: bytes, at: float = 0.0) -> Frame:
    """Return a frame ready for every reader."""
    return Frame(data, b"%x\r\n%b\r\n" % (len(data), data), at)


def event_frame(event: LoggedEvent, *, resumable: bool = True) -> bytes:
    """Frame an event. A later copy of it is not resumable: a reader shall resume after the newest position."""
    head = b"id: %b\n" % event.id.encode() if resumable else b""
    return b"%bevent: %b\ndata: %b\n\n" % (head, event.type.encode(), event.public())


def data_frame(event: Mapping[str, Any]) -> bytes:
    """Frame an event that is not in the log: previews and `session.deleted`."""
    return b"event: %b\ndata: %b\n\n" % (str(event["type"]).encode(), orjson.dumps(event))


class Wire:
    """A reader's connection, for frames that need not wait.

    They go to the transport in the step that stores the event. Waking each reader's handler for it, and encoding the
    HTTP chunk once a reader, costs several times what the sockets cost.
    """

    def __init__(self, transport: asyncio.WriteTransport, *, chunked: bool) -> None:
        self._transport = transport
        self._chunked = chunked

    def send(self, frame: Frame) -> bool:
        """Send a frame, unless earlier bytes still wait for the reader, or it has gone."""
        transport = self._transport
        if transport.is_closing() or transport.get_write_buffer_size():
            return False
        transport.write(frame.chunk if self._chunked else frame.data)
        return True


class Stream:
    """One reader's frames on their way out.

    While it catches up from the log (`live` is false), new events are left to the log and only later copies of events
    that were already sent are kept. `abort` is called once, when the reader is dropped. `position` is the last one
    handed to its connection.
    """

    def __init__(self, session_id: str, previews: frozenset[str], abort: Callable[[], None]) -> None:
        self.session_id = session_id
        self.live = True
        self.ended = False
        self.dropped = False
        self.position = 0
        self._gate = PreviewGate(previews) if previews else None
        self._abort = abort
        self._wire: Wire | None = None
        self._frames: deque[tuple[int, Frame]] = deque()
        self._bytes = 0
        self._ready = asyncio.Event()

    def attach(self, wire: Wire | None, position: int) -> None:
        """Start to send: what the reader has from the log, up to that position, is left out."""
        self._wire = wire
        self.position = max(self.position, position)
        kept = [(at, frame) for at, frame in self._frames if at == 0 or at > position]
        self._frames = deque(kept)
        self._bytes = sum(len(frame.data) for _, frame in kept)

    def event(self, event: LoggedEvent, frame: Frame) -> None:
        """Add a new event."""
        if self._gate is not None:
            self._gate.stored(event.id, event.type, live=self.live)
        if self.live:
            self._push(event.position, frame)

    def copy(self, frame: Frame) -> None:
        """Add a later copy of an event: it was processed."""
        self._push(0, frame)

    def preview(self, event: Mapping[str, Any], frame: Frame) -> None:
        """Add a preview that this reader gets, unless its buffer is filling."""
        full = self._bytes * PREVIEW_SHARE > BUFFER_BYTES_MAX or len(self._frames) * PREVIEW_SHARE > BUFFER_FRAMES_MAX
        if self._gate is not None and self._gate.admits(event, shed=full):
            self._push(0, frame)

    def end(self) -> None:
        """Let the reader have what is left, then close."""
        self.ended = True
        self._ready.set()

    async def take(self, seconds: float) -> list[Frame]:
        """Return frames that wait, oldest first, some at a time; empty after that many seconds, or at the end."""
        if not self._frames and not self.ended:
            try:
                async with asyncio.timeout(seconds):
                    await self._ready.wait()
            except TimeoutError:
                return []
        taken: list[Frame] = []
        size = 0
        while self._frames and size < WRITE_BYTES_MAX:
            position, frame = self._frames.popleft()
            self.position = position or self.position
            taken.append(frame)
            size += len(frame.data)
        self._bytes -= size
        if not self._frames and not self.ended:
            self._ready.clear()
        return taken

    def _push(self, position: int, frame: Frame) -> None:
        if self.dropped or self.ended:
            return
        if self._wire is not None and not self._frames and self._wire.send(frame):
            self.position = position or self.position
            return
        self._frames.append((position, frame))
        self._bytes += len(frame.data)
        self._ready.set()
        if len(self._frames) > BUFFER_FRAMES_MAX or (self._bytes > BUFFER_BYTES_MAX and len(self._frames) > 1):
            self._drop()

    def _drop(self) -> None:
        self.dropped = True
        self._frames.clear()
        self._bytes = 0
        self._ready.set()
        self._abort()
