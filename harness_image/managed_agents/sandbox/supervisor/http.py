"""A small HTTP/1.1 server on asyncio streams: bounded in every direction, no thread or process per request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from managed_agents.sandbox.supervisor.errors import ContractError, invalid
from managed_agents.sandbox.supervisor.logs import log

HEAD_BYTES_MAX = 16 * 1024
CONNECTIONS_MAX = 64
IDLE_SECONDS = 75.0  # between two requests of a connection; longer than usual clients keep one
BODY_SECONDS = 60.0  # for a whole body
LINGER_SECONDS = 2.0
CHUNK_BYTES = 256 * 1024  # of a body that is streamed
LARGE_BODY_BYTES = 1024 * 1024  # such bodies are read one after the other, for the memory they take
_REASONS = {
    200: "OK", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
    408: "Request Timeout", 409: "Conflict", 411: "Length Required", 413: "Content Too Large", 429: "Too Many Requests",
    500: "Internal Server Error", 503: "Service Unavailable", 507: "Insufficient Storage",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A request without its body. Header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body_bytes: int
    keep_alive: bool


_SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: managed-agents-egress\r\n\r\n"
TakeOver = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """Bytes that are sent as they are read. A reader that fails ends the connection, so they never look whole."""

    size: int
    chunks: AsyncIterator[bytes]
    close: Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A status and a JSON body, or a content in its place.

    With `take_over` the connection stops being HTTP, and is that one's to its end.
    """

    status: int
    body: dict[str, Any]
    content: Content | None = None
    take_over: TakeOver | None = None


Answer = Callable[[bytes], Awaitable[Response]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Streamed:
    """An answer that takes its body as it comes, up to a size of its own."""

    take: Callable[[AsyncIterator[bytes]], Awaitable[Response]]
    body_bytes_max: int


# Admits a request by its head alone and returns what answers it; raises `ContractError`.
Admit = Callable[[Head], Awaitable[Answer | Streamed]]


class HttpServer:
    """Serves one `Admit` on one port."""

    def __init__(self, admit: Admit, body_bytes_max: int) -> None:
        self._admit = admit
        self._body_bytes_max = body_bytes_max
        self._connections: set[asyncio.Task[Any]] = set()
        self._taken: set[asyncio.Task[Any]] = set()
        self._large = asyncio.Semaphore(1)
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port."""
        self._server = await asyncio.start_server(self._serve, host, port, limit=HEAD_BYTES_MAX, backlog=128)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening and drop the connections."""
        if self._server is not None:
            self._server.close()
        connections = [*self._connections, *self._taken]
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - start_server runs this in a task
        self._connections.add(task)
        try:
            if len(self._connections) > CONNECTIONS_MAX:
                error = ContractError(503, "too_many_connections", f"more than {CONNECTIONS_MAX} connections")
                await _write(writer, _response_of(error), keep_alive=False)
                return
            while await self._exchange(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError):  # the client went away, or let a timeout pass
            return
        except asyncio.CancelledError:  # by close(), and this task has nothing else to do
            return
        finally:
            self._connections.discard(task)
            self._taken.discard(task)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; false when the connection is at its end."""
        body_read = False
        keep_alive = False
        lingers = False
        try:
            head = await self._read_head(reader)
            if head is None:
                return False
            keep_alive = head.keep_alive
            body_read = head.body_bytes == 0
            answer = await self._admit(head)
            if isinstance(answer, Streamed):
                lingers = True
                _check_size(head, answer.body_bytes_max)
                _invite(head, writer)
                response = await answer.take(_chunks(reader, head.body_bytes))
                body_read = True
            else:
                _check_size(head, self._body_bytes_max)
                async with self._turn(head):
                    body = await self._read_body(head, reader, writer)
                    body_read = True
                    responding = answer(body)
                    del body  # it may be large, and the answer long in coming
                response = await responding
        except ContractError as error:
            response = _response_of(error)
        except Exception as error:
            if isinstance(error, (OSError, asyncio.IncompleteReadError)):
                raise
            log("error", "request failed", reason=repr(error))
            response = _response_of(ContractError(500, "internal_error", "the supervisor failed on this request"))
        if response.take_over is not None:
            await self._hand_over(response.take_over, reader, writer)
            return False
        keep_alive = keep_alive and body_read  # an unread body would be taken for the next request
        if response.content is not None:
            await _send(writer, response.content, keep_alive=keep_alive)
        else:
            await _write(writer, response, keep_alive=keep_alive)
        if lingers and not body_read:
            await _linger(reader)
        return keep_alive

    async def _hand_over(self, take_over: TakeOver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Let go of a connection, which then counts no more among those that wait for an answer."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - as above
        self._connections.discard(task)
        self._taken.add(task)
        writer.write(_SWITCHING)
        await writer.drain()
        await take_over(reader, writer)

    def _turn(self, head: Head) -> asyncio.Semaphore:
        return self._large if head.body_bytes > LARGE_BODY_BYTES else asyncio.Semaphore(1)

    async def _read_head(self, reader: asyncio.StreamReader) -> Head | None:
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                raw = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            raise invalid(f"the request's head exceeds {HEAD_BYTES_MAX} bytes") from None
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise
            return None
        return parse_head(raw)

    async def _read_body(self, head: Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        if head.body_bytes == 0:
            return b""
        _invite(head, writer)
        async with asyncio.timeout(BODY_SECONDS):
            return await reader.readexactly(head.body_bytes)


def _check_size(head: Head, most: int) -> None:
    if head.body_bytes > most:
        message = f"the body has {head.body_bytes} bytes; at most {most} are allowed"
        raise ContractError(413, "request_too_large", message)


def _invite(head: Head, writer: asyncio.StreamWriter) -> None:
    if head.headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")


async def _chunks(reader: asyncio.StreamReader, size: int) -> AsyncIterator[bytes]:
    """Yield a body as it comes. Raises `IncompleteReadError` where the client goes away within it."""
    left = size
    while left:
        async with asyncio.timeout(BODY_SECONDS):
            chunk = await reader.read(min(left, CHUNK_BYTES))
        if not chunk:
            raise asyncio.IncompleteReadError(b"", left)
        left -= len(chunk)
        yield chunk


async def _linger(reader: asyncio.StreamReader) -> None:
    """Take what a refused client still sends: closing at once would reset the connection, and lose the refusal."""
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            while await reader.read(CHUNK_BYTES):
                pass


def parse_head(raw: bytes) -> Head:
    """Return a request's head. Raises 400, 411."""
    lines = raw[:-4].decode("latin-1").split("\r\n")
    parts = lines[0].split(" ")
    if len(parts) != 3 or parts[2] not in ("HTTP/1.1", "HTTP/1.0"):
        raise invalid("not an HTTP/1.1 request")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip() or name.lower() in headers:
            raise invalid("a header is malformed or given twice")
        headers[name.lower()] = value.strip()
    return Head(
        method=parts[0],
        path=parts[1],
        headers=headers,
        body_bytes=_body_bytes(parts[0], headers),
        keep_alive=parts[2] == "HTTP/1.1" and headers.get("connection", "").lower() != "close",
    )


def _body_bytes(method: str, headers: dict[str, str]) -> int:
    if "transfer-encoding" in headers:
        raise ContractError(411, "length_required", "send Content-Length; Transfer-Encoding is not supported")
    length = headers.get("content-length")
    if length is None:
        if method == "POST" and headers.get("content-type"):
            raise ContractError(411, "length_required", "send Content-Length")
        return 0
    if not length.isascii() or not length.isdigit() or len(length) > 15:
        raise invalid("Content-Length: must be a decimal number")
    return int(length)


def parse_json(body: bytes) -> Any:
    """Return a JSON body. Raises 400."""
    try:
        return json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise invalid("the body is not JSON") from error


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _response_of(error: ContractError) -> Response:
    return Response(status=error.status, body=error.body())


async def _send(writer: asyncio.StreamWriter, content: Content, *, keep_alive: bool) -> None:
    head = (
        "HTTP/1.1 200 OK\r\n"
        "Content-Type: application/octet-stream\r\n"
        f"Content-Length: {content.size}\r\n"
        f"Connection: {'keep-alive' if keep_alive else 'close'}\r\n\r\n"
    )
    try:
        writer.write(head.encode("latin-1"))
        async for chunk in content.chunks:
            writer.write(chunk)
            async with asyncio.timeout(BODY_SECONDS):
                await writer.drain()
    finally:
        content.close()


async def _write(writer: asyncio.StreamWriter, response: Response, *, keep_alive: bool) -> None:
    body = json.dumps(response.body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    head = (
        f"HTTP/1.1 {response.status} {_REASONS[response.status]}\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"Connection: {'keep-alive' if keep_alive else 'close'}\r\n\r\n"
    )
    writer.write(head.encode("latin-1") + body)
    with suppress(ConnectionError):
        await writer.drain()
