"""Server-sent events, read from a stream however it is cut (WHATWG HTML, section 9.2)."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp

_LINE = re.compile(rb"\r\n|\n|\r")


class OversizedError(ValueError):
    """A stream holds more without an event's end than is taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SseEvent:
    """One server-sent event."""

    name: str = "message"
    data: str = ""
    id: str | None = None


class SseParser:
    """Puts server-sent events together from pieces of a stream. One event has at most `bytes_max`."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._rest: list[bytes] = []
        self._rest_size = 0
        self._fields: list[tuple[str, str]] = []
        self._size = 0

    def feed(self, piece: bytes) -> list[SseEvent]:
        """Take in a piece and return the events that it completes. Raises: OversizedError."""
        self._rest.append(piece)
        self._rest_size += len(piece)
        events: list[SseEvent] = []
        if self._ends_a_line(piece):
            buffer = b"".join(self._rest)
            held = b"\r" if buffer.endswith(b"\r") else b""  # the line end may go on in the next piece
            *lines, rest = _LINE.split(buffer.removesuffix(b"\r") if held else buffer)
            self._rest, self._rest_size = [rest + held], len(rest) + len(held)
            events = [event for line in lines if (event := self._line(line)) is not None]
        if self._size + self._rest_size > self._bytes_max:
            raise OversizedError(f"an event of more than {self._bytes_max} bytes")
        return events

    def _ends_a_line(self, piece: bytes) -> bool:
        is_held = len(self._rest) > 1 and self._rest[-2].endswith(b"\r")
        return is_held or b"\n" in piece or b"\r" in piece

    def _line(self, line: bytes) -> SseEvent | None:
        if not line:
            return self._event()
        if not line.startswith(b":"):
            name, _, value = line.decode("utf-8", "replace").partition(":")
            self._fields.append((name, value.removeprefix(" ")))
            self._size += len(line)
        return None

    def _event(self) -> SseEvent | None:
        fields, self._fields, self._size = self._fields, [], 0
        if not fields:
            return None
        data = "\n".join(value for name, value in fields if name == "data")
        last = dict(fields)
        return SseEvent(name=last.get("event", "message"), data=data, id=last.get("id"))


async def events_of(response: aiohttp.ClientResponse, bytes_max: int) -> AsyncIterator[SseEvent]:
    """Yield the events of a stream as they come. Raises: OversizedError, and aiohttp's errors where it breaks."""
    parser = SseParser(bytes_max)
    async for piece in response.content.iter_any():
        for event in parser.feed(piece):
            yield event
