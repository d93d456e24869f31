"""Messages of JSON-RPC 2.0 and of server-sent events, as MCP uses them. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from managed_agents.harness.mcp.errors import McpBrokenError, McpRefusedError

PROTOCOL_VERSION = "2025-11-25"
"""The revision that we ask for; a server answers with it or with an older one that it speaks."""

VERSIONS = frozenset({"2024-11-05", "2025-03-26", "2025-06-18", PROTOCOL_VERSION})

MESSAGE_BYTES_MAX = 32 * 1024 * 1024
"""One message of a server: the bound of an event in the log, which a result must fit in anyway."""

Message = Mapping[str, Any]
_LINE = re.compile(rb"\r\n|\n|\r")


@dataclass(frozen=True, slots=True, kw_only=True)
class SseEvent:
    """One server-sent event."""

    name: str = "message"
    data: str = ""
    id: str | None = None


class SseParser:
    """Puts server-sent events together from pieces of a stream."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._rest_size = 0
        self._fields: list[tuple[str, str]] = []
        self._size = 0

    def feed(self, piece: bytes) -> list[SseEvent]:
        """Take in a piece and return the events that it completes. Raises: McpBrokenError on one that is too large."""
        self._rest.append(piece)
        self._rest_size += len(piece)
        events: list[SseEvent] = []
        if self._ends_a_line(piece):
            buffer = b"".join(self._rest)
            held = b"\r" if buffer.endswith(b"\r") else b""  # the line end may go on in the next piece
            *lines, rest = _LINE.split(buffer.removesuffix(b"\r") if held else buffer)
            self._rest, self._rest_size = [rest + held], len(rest) + len(held)
            events = [event for line in lines if (event := self._line(line)) is not None]
        if self._size + self._rest_size > MESSAGE_BYTES_MAX:
            raise McpBrokenError(f"the server sent a message of more than {MESSAGE_BYTES_MAX} bytes")
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


def request(request_id: int, method: str, params: Mapping[str, Any] | None = None) -> Message:
    """Build a request."""
    return {"jsonrpc": "2.0", "id": request_id, "method": method} | ({"params": params} if params else {})


def notification(method: str, params: Mapping[str, Any] | None = None) -> Message:
    """Build a notification."""
    return {"jsonrpc": "2.0", "method": method} | ({"params": params} if params else {})


def answer_to(asked: Message) -> Message:
    """Answer what a server asks of its client: it is there, and can do nothing else."""
    answer: dict[str, Any] = {"jsonrpc": "2.0", "id": asked["id"]}
    if asked.get("method") == "ping":
        return answer | {"result": {}}
    return answer | {"error": {"code": -32601, "message": "this client does not offer that"}}


def is_answer(message: Message, request_id: int) -> bool:
    """Tell whether a message answers the request of that id."""
    return "method" not in message and message.get("id") == request_id


def is_request(message: Message) -> bool:
    """Tell whether a message wants an answer of ours."""
    return "method" in message and message.get("id") is not None


def parsed(text: bytes | str) -> Message:
    """Parse a message. Raises: McpBrokenError where it is none."""
    try:
        message = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise McpBrokenError("the server sent something that is not JSON") from None
    if not isinstance(message, dict):
        raise McpBrokenError("the server sent JSON that is no message of MCP")
    return message


def result_of(answer: Message) -> Mapping[str, Any]:
    """Return the result of an answer. Raises: McpRefusedError where it is an error, McpBrokenError where it is none."""
    error = answer.get("error")
    if error is not None:
        said = error.get("message") if isinstance(error, dict) else None
        code = error.get("code") if isinstance(error, dict) else None
        raise McpRefusedError(f"{str(said or 'no reason given')[:2000]} (code {code})")
    result = answer.get("result")
    if not isinstance(result, dict):
        raise McpBrokenError("the server sent an answer without a result")
    return result
