"""A client of one MCP server: connect, list the tools, call one, cancel it. A lost connection is made again."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from managed_agents.harness.mcp.errors import McpError, McpExpiredError, McpOldTransportError, McpRefusedError
from managed_agents.harness.mcp.http import Transport
from managed_agents.harness.mcp.wire import PROTOCOL_VERSION, VERSIONS, Message, notification, request, result_of

PAGES_MAX = 20
"""Pages of one list of tools; an agent may have 256 tools in all."""

GOODBYE_SECONDS = 0.5
"""How long a server may take to hear that nobody needs it any more."""

_CLIENT = {"name": "managed-agents", "version": "1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class McpTool:
    """A tool as its server describes it."""

    name: str
    description: str
    input_schema: Mapping[str, Any]


class McpClient:
    """One server, one connection. Calls and lists may run beside each other."""

    def __init__(self, *transports: Callable[[], Transport]) -> None:
        """Each makes a transport, with nothing sent by it; a server that does not speak one is tried by the next."""
        self._transports = transports
        self._transport: Transport | None = None
        self._connecting = asyncio.Lock()
        self._last_id = 0
        self._calls: dict[str, int] = {}

    async def tools(self) -> tuple[McpTool, ...]:
        """Return the server's tools, all pages of them. Raises: McpError."""
        try:
            return await self._list()
        except McpExpiredError:
            self.forget()
            return await self._list()

    async def call(
        self, call_id: str, tool: str, arguments: Mapping[str, Any], progressed: Callable[[], None]
    ) -> Mapping[str, Any]:
        """Call a tool once and return its result. Raises: McpError, which tells whether the server may have run it.

        A server that has ended the session of MCP has refused the call, so it is made once more in a new one.
        """
        try:
            return await self._call(call_id, tool, arguments, progressed)
        except McpExpiredError:
            self.forget()
            return await self._call(call_id, tool, arguments, progressed)

    async def cancel(self, call_id: str) -> None:
        """Tell the server that nobody waits for this call any more. Raises: McpError."""
        request_id = self._calls.pop(call_id, None)
        if request_id is not None and self._transport is not None:
            params = {"requestId": request_id, "reason": "the session was interrupted"}
            await self._transport.notify(notification("notifications/cancelled", params))

    async def connect(self) -> Transport:
        """Return the connection, made if there is none. Raises: McpError."""
        async with self._connecting:
            if self._transport is not None:
                return self._transport
            for make in self._transports[:-1]:
                with suppress(McpOldTransportError):
                    return await self._connected(make())
            return await self._connected(self._transports[-1]())

    def forget(self) -> None:
        """Drop the connection without a word: the server has, or may have, forgotten it."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.drop()

    async def close(self) -> None:
        """Say goodbye."""
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.close()

    async def _connected(self, transport: Transport) -> Transport:
        try:
            await self._initialize(transport)
            self._transport = transport
        finally:
            if self._transport is not transport:
                await bounded(transport.close, GOODBYE_SECONDS)
        return transport

    async def _initialize(self, transport: Transport) -> None:
        params = {"protocolVersion": PROTOCOL_VERSION, "capabilities": {}, "clientInfo": _CLIENT}
        answer = await transport.request(request(self._next_id(), "initialize", params), _nothing)
        version = result_of(answer).get("protocolVersion")
        if version not in VERSIONS:
            raise McpRefusedError(f"the server speaks MCP {version}, which is not one of {', '.join(sorted(VERSIONS))}")
        transport.negotiated(str(version))
        await transport.notify(notification("notifications/initialized"))

    async def _list(self) -> tuple[McpTool, ...]:
        transport = await self.connect()
        found: list[McpTool] = []
        cursor: str | None = None
        for _ in range(PAGES_MAX):
            params = {"cursor": cursor} if cursor else None
            answer = await transport.request(request(self._next_id(), "tools/list", params), _nothing)
            page = result_of(answer)
            found += [tool for item in page.get("tools") or () if (tool := _tool_from(item)) is not None]
            cursor = page.get("nextCursor")
            if not cursor:
                break
        return tuple(found)

    async def _call(
        self, call_id: str, tool: str, arguments: Mapping[str, Any], progressed: Callable[[], None]
    ) -> Mapping[str, Any]:
        transport = await self.connect()
        request_id = self._calls[call_id] = self._next_id()

        def heard(message: Message) -> None:
            if message.get("method") == "notifications/progress":
                progressed()

        params = {"name": tool, "arguments": arguments, "_meta": {"progressToken": request_id}}
        try:
            answer = await transport.request(request(request_id, "tools/call", params), heard)
        except McpError:
            self._calls.pop(call_id, None)
            raise
        self._calls.pop(call_id, None)
        return result_of(answer)

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id


async def bounded(work: Callable[[], Any], seconds: float) -> None:
    """Do something of no consequence within a time, and forget how it went."""
    with suppress(McpError, TimeoutError):
        async with asyncio.timeout(seconds):
            await work()


def _tool_from(item: object) -> McpTool | None:
    if not isinstance(item, dict) or not isinstance(item.get("name"), str) or not item["name"]:
        return None
    schema = item.get("inputSchema")
    description = str(item.get("description") or item.get("title") or "")
    return McpTool(name=item["name"], description=description, input_schema=schema if isinstance(schema, dict) else {})


def _nothing(_: Message) -> None:
    pass
