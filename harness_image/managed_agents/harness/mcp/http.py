"""The streamable HTTP transport of MCP, through the proxy's MCP listener, which knows address and credential."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Protocol

import aiohttp
import orjson

from managed_agents.harness import sse
from managed_agents.harness.mcp.errors import (
    McpAuthenticationError,
    McpBrokenError,
    McpError,
    McpExpiredError,
    McpNotReachedError,
    McpOldTransportError,
    McpRefusedError,
)
from managed_agents.harness.mcp.wire import (
    MESSAGE_BYTES_MAX,
    Message,
    answer_to,
    is_answer,
    is_request,
    parsed,
)
from managed_agents.harness.sse import SseEvent

Heard = Callable[[Message], None]
"""Told each notification that comes before an answer."""

RESUMES_MAX = 3
"""How often a stream that broke is taken up again while one answer is waited for."""

RESUME_PAUSE_SECONDS = 0.5

_JSON, _EVENTS = "application/json", "text/event-stream"


class Transport(Protocol):
    """Carries messages to one server and back."""

    async def request(self, message: Message, heard: Heard) -> Message:
        """Send a request and return its answer. Raises: McpError."""
        ...

    async def notify(self, message: Message) -> None:
        """Send what has no answer. Raises: McpError."""
        ...

    def negotiated(self, version: str) -> None:
        """Use this revision of the protocol from now on."""
        ...

    def drop(self) -> None:
        """Hold nothing any more, without a word to the server."""
        ...

    async def close(self) -> None:
        """Say goodbye if that is possible, and hold nothing."""
        ...


class StreamableHttp:
    """One session of MCP at one server, whose name the proxy turns into its URL."""

    def __init__(self, http: aiohttp.ClientSession, url: str, server: str) -> None:
        self._http = http
        self._url = url
        self._query = {"server": server}
        self._headers: dict[str, str] = {}

    def negotiated(self, version: str) -> None:
        """Name the revision in each request from now on."""
        self._headers["MCP-Protocol-Version"] = version

    async def request(self, message: Message, heard: Heard) -> Message:
        """Send a request and return its answer; a stream that breaks is taken up again where the server lets us."""
        try:
            async with self._send(message) as response:
                await self._check(response)
                if session := response.headers.get("Mcp-Session-Id"):
                    self._headers["Mcp-Session-Id"] = session
                if response.content_type == _EVENTS:
                    return await self._from_stream(response, message["id"], heard)
                return await _whole(response, message["id"])
        except (aiohttp.ClientError, ConnectionError) as problem:
            raise McpBrokenError(f"the connection broke ({type(problem).__name__})") from None

    async def notify(self, message: Message) -> None:
        """Send what has no answer."""
        try:
            async with self._send(message) as response:
                await self._check(response)
        except (aiohttp.ClientError, ConnectionError) as problem:
            raise McpBrokenError(f"the connection broke ({type(problem).__name__})") from None

    def drop(self) -> None:
        """Hold nothing, as ever between two requests."""

    async def close(self) -> None:
        """End the session at the server, if it has one; servers may forbid that."""
        if "Mcp-Session-Id" not in self._headers:
            return
        try:
            async with self._http.delete(self._url, params=self._query, headers=self._headers):
                pass
        except (aiohttp.ClientError, ConnectionError):
            return

    def _send(self, message: Message) -> Any:
        headers = {"Content-Type": _JSON, "Accept": f"{_JSON}, {_EVENTS}", **self._headers}
        return self._http.post(self._url, params=self._query, data=orjson.dumps(message), headers=headers)

    async def _check(self, response: aiohttp.ClientResponse) -> None:
        if response.status < 300:
            return
        if response.status == 404 and "Mcp-Session-Id" in self._headers:
            raise McpExpiredError("the server has ended its session")
        raise await failure_from(response)

    async def _from_stream(self, response: aiohttp.ClientResponse, wanted: int, heard: Heard) -> Message:
        last: str | None = None
        for attempt in range(RESUMES_MAX + 1):
            try:
                if attempt == 0:
                    answer, last = await self._listen(response, wanted, heard, last)
                else:
                    await asyncio.sleep(RESUME_PAUSE_SECONDS)
                    answer, last = await self._resumed(last or "", wanted, heard)
            except (aiohttp.ClientError, ConnectionError):
                answer = None
            if answer is not None:
                return answer
            if last is None:
                break
        raise McpBrokenError("the stream ended without an answer")

    async def _resumed(self, last: str, wanted: int, heard: Heard) -> tuple[Message | None, str | None]:
        headers = {"Accept": _EVENTS, "Last-Event-ID": last, **self._headers}
        async with self._http.get(self._url, params=self._query, headers=headers) as response:
            if response.status != 200 or response.content_type != _EVENTS:
                raise McpBrokenError("the stream broke, and the server does not take it up again")
            return await self._listen(response, wanted, heard, last)

    async def _listen(
        self, response: aiohttp.ClientResponse, wanted: int, heard: Heard, last: str | None
    ) -> tuple[Message | None, str | None]:
        """Return the answer, or None where the stream ends without, and the id of the last event that has one."""
        try:
            async for event in events_of(response):
                last = event.id or last
                if event.name != "message" or not event.data:
                    continue
                message = parsed(event.data)
                if is_answer(message, wanted):
                    return message, last
                await self._aside(message, heard)
        except (aiohttp.ClientError, ConnectionError):
            return None, last
        return None, last

    async def _aside(self, message: Message, heard: Heard) -> None:
        if is_request(message):
            await self.notify(answer_to(message))
        elif "method" in message:
            heard(message)


async def events_of(response: aiohttp.ClientResponse) -> AsyncIterator[SseEvent]:
    """Yield the events of a stream as they come. Raises: McpBrokenError, and aiohttp's errors where it breaks."""
    try:
        async for event in sse.events_of(response, MESSAGE_BYTES_MAX):
            yield event
    except sse.OversizedError as problem:
        raise McpBrokenError(f"the server sent {problem}") from None


async def _whole(response: aiohttp.ClientResponse, wanted: int) -> Message:
    message = parsed(await _read(response))
    if not is_answer(message, wanted):
        raise McpBrokenError("the server answered another request than this one")
    return message


async def _read(response: aiohttp.ClientResponse) -> bytes:
    pieces, size = [], 0
    async for piece in response.content.iter_any():
        pieces.append(piece)
        size += len(piece)
        if size > MESSAGE_BYTES_MAX:
            raise McpBrokenError(f"the server sent a message of more than {MESSAGE_BYTES_MAX} bytes")
    return b"".join(pieces)


async def failure_from(response: aiohttp.ClientResponse) -> McpError:
    """Say what a refusal means: the proxy's own by their type, the server's by its status."""
    error = _error_in(await _read(response))
    kind, said = str(error.get("type", "")), str(error.get("message") or "")[:2000]
    match response.status:
        case 401:
            return McpAuthenticationError(said or "the server wants a credential")
        case 403:
            return McpNotReachedError(said or "the server is not to be reached")
        case 503 if kind == "mcp_not_connected":
            return McpNotReachedError(said)
        case 400 | 404 | 405:
            return McpOldTransportError(f"the server answered with status {response.status}. {said}".rstrip(". "))
        case status if status < 500:
            return McpRefusedError(f"the server answered with status {status}. {said}".rstrip(". "))
        case status:
            return McpBrokenError(said or f"the server answered with status {status}")


def _error_in(body: bytes) -> Mapping[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    error = document.get("error") if isinstance(document, dict) else None
    return error if isinstance(error, dict) else {}
