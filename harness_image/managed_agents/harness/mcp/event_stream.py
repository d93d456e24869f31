"""The older transport of MCP (HTTP with SSE, revision 2024-11-05): one stream of answers, and a place to post."""

import asyncio
from typing import Any

import aiohttp
import orjson
from yarl import URL

from managed_agents.harness.mcp.errors import McpBrokenError, McpError, McpExpiredError, McpOldTransportError
from managed_agents.harness.mcp.http import Heard, events_of, failure_from
from managed_agents.harness.mcp.wire import Message, answer_to, is_request, parsed


class EventStream:
    """One session of MCP, which lives as long as its stream does."""

    def __init__(self, http: aiohttp.ClientSession, url: str, server: str) -> None:
        self._http = http
        self._url = url
        self._query = {"server": server}
        self._reader: asyncio.Task[None] | None = None
        self._endpoint: asyncio.Future[URL] = asyncio.get_running_loop().create_future()
        self._waiting: dict[Any, tuple[asyncio.Future[Message], Heard]] = {}

    def negotiated(self, version: str) -> None:
        """Name it nowhere: this transport knows one revision."""

    async def request(self, message: Message, heard: Heard) -> Message:
        """Post a request and return its answer from the stream. Raises: McpError."""
        endpoint = await self._opened()
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting[message["id"]] = answer, heard
        try:
            await self._post(endpoint, message)
            return await answer
        finally:
            self._waiting.pop(message["id"], None)
            answer.cancel()

    async def notify(self, message: Message) -> None:
        """Post what has no answer. Raises: McpError."""
        await self._post(await self._opened(), message)

    def drop(self) -> None:
        """Close the stream."""
        if self._reader is not None:
            self._reader.cancel()

    async def close(self) -> None:
        """Close the stream, which is what this transport says goodbye by."""
        self.drop()
        if self._reader is not None:
            await asyncio.gather(self._reader, return_exceptions=True)

    async def _opened(self) -> URL:
        if self._reader is None:
            self._reader = asyncio.create_task(self._read())
        elif self._reader.done():
            raise McpExpiredError("the server has closed its stream")
        return await asyncio.shield(self._endpoint)

    async def _post(self, endpoint: URL, message: Message) -> None:
        headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        try:
            async with self._http.post(endpoint, data=orjson.dumps(message), headers=headers) as response:
                if response.status == 404:
                    raise McpExpiredError("the server has ended its session")
                if response.status >= 300:
                    raise await failure_from(response)
        except (aiohttp.ClientError, ConnectionError) as problem:
            raise McpBrokenError(f"the connection broke ({type(problem).__name__})") from None

    async def _read(self) -> None:
        """Read the stream to its end, which ends everything that waits for it."""
        ending: McpError = McpBrokenError("the server closed its stream")
        try:
            headers = {"Accept": "text/event-stream"}
            async with self._http.get(self._url, params=self._query, headers=headers) as response:
                if response.status != 200 or response.content_type != "text/event-stream":
                    raise await _no_stream(response)
                async for event in events_of(response):
                    if event.name == "endpoint" and not self._endpoint.done():
                        self._endpoint.set_result(URL(self._url).join(URL(event.data, encoded=True)))
                    elif event.name == "message" and event.data:
                        await self._take(parsed(event.data))
        except McpError as error:
            ending = error
        except (aiohttp.ClientError, ConnectionError) as problem:
            ending = McpBrokenError(f"the connection broke ({type(problem).__name__})")
        finally:
            self._end(ending)

    async def _take(self, message: Message) -> None:
        if is_request(message):
            await self._post(self._endpoint.result(), answer_to(message))
            return
        if "method" in message:
            for _, heard in list(self._waiting.values()):
                heard(message)
            return
        answer, _ = self._waiting.get(message.get("id"), (None, None))
        if answer is not None and not answer.done():
            answer.set_result(message)

    def _end(self, ending: McpError) -> None:
        everything: list[asyncio.Future[Any]] = [self._endpoint, *(answer for answer, _ in self._waiting.values())]
        for waiting in everything:
            if not waiting.done():
                waiting.set_exception(ending)
                waiting.exception()  # who waited may have left


async def _no_stream(response: aiohttp.ClientResponse) -> McpError:
    if response.status == 200:
        return McpOldTransportError("the server speaks neither transport of MCP")
    return await failure_from(response)
