"""The MCP servers of a session under one lease: connected and listed when a turn begins, used until it ends.

A server that cannot be listed is told of once, the turn goes on without its tools, and the next turn tries again.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from managed_agents.contracts import causes
from managed_agents.contracts.causes import Cause
from managed_agents.harness.mcp.client import GOODBYE_SECONDS, McpClient, McpTool, bounded
from managed_agents.harness.mcp.errors import McpAuthenticationError, McpError, McpNotReachedError
from managed_agents.harness.mcp.hand import McpHand
from managed_agents.harness.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class McpServer:
    """An entry of the agent's `mcp_servers`. The harness never dials the URL: it only notices that it is another."""

    name: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class McpFailure:
    """A server could not be connected and listed; the session goes on without its tools."""

    server: str
    cause: Cause
    message: str


class McpServers:
    """What the servers of a session offer. `client_for` makes the client of a server by its name."""

    def __init__(self, client_for: Callable[[str], McpClient], settings: Settings) -> None:
        self._client_for = client_for
        self._settings = settings
        self._urls: dict[str, str] = {}
        self._clients: dict[str, McpClient] = {}
        self._offered: dict[str, tuple[McpTool, ...]] = {}
        self._refreshes: dict[str, asyncio.Task[tuple[McpTool, ...]]] = {}
        self._turn: int | None = None
        self._refused: dict[str, str] = {}
        self._told: set[str] = set()

    @property
    def offered(self) -> Mapping[str, tuple[McpTool, ...]]:
        """Return the tools of each server that could be listed."""
        return self._offered

    def is_ready(self, turn: int) -> bool:
        """Tell whether all was done that a turn of this number needs."""
        return self._turn == turn

    async def prepare(self, turn: int, servers: Iterable[McpServer]) -> Sequence[McpFailure]:
        """Connect and list what is not listed yet, all at once; return what failed. Cancel it at any time.

        What is listed already is listed again beside the turn, for the next one.
        """
        self._adopt({server.name: server.url for server in servers})
        await self._settle_refreshes()
        missing = [name for name in self._urls if name not in self._offered]
        found = await asyncio.gather(*(self._listed(name) for name in missing))
        for name in self._urls:
            if name in self._offered and name not in missing:
                self._refreshes[name] = asyncio.create_task(self._list(name))
        self._turn = turn
        failures = [failure for failure in found if failure is not None]
        self._refused.clear()
        self._told = {failure.server for failure in failures}
        return failures

    def refusals(self) -> Sequence[McpFailure]:
        """Return which servers have refused a call for want of a credential since the last look, each once a turn."""
        fresh = {name: message for name, message in self._refused.items() if name not in self._told}
        self._refused.clear()
        self._told |= fresh.keys()
        return [_failure(name, causes.MCP_AUTHENTICATION, message) for name, message in fresh.items()]

    def hand(self, name: str) -> McpHand:
        """Return the hand that a server is."""
        return McpHand(self._client(name), self._settings, lambda message: self._refused.update({name: message}))

    async def close(self) -> None:
        """Leave all servers."""
        for task in self._refreshes.values():
            task.cancel()
        await asyncio.gather(*self._refreshes.values(), return_exceptions=True)
        await asyncio.gather(*(bounded(client.close, GOODBYE_SECONDS) for client in self._clients.values()))

    def _adopt(self, urls: dict[str, str]) -> None:
        for name in [name for name, url in self._urls.items() if urls.get(name) != url]:
            self._drop(name)
        self._urls = urls

    def _drop(self, name: str) -> None:
        self._offered.pop(name, None)
        if name in self._clients:
            self._clients.pop(name).forget()
        task = self._refreshes.pop(name, None)
        if task is not None:
            task.cancel()

    async def _settle_refreshes(self) -> None:
        """Take over what was listed meanwhile; a server that failed, or has not answered yet, is asked again."""
        for name, task in list(self._refreshes.items()):
            del self._refreshes[name]
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            if task.cancelled() or task.exception() is not None:
                self._offered.pop(name, None)
                self._client(name).forget()
            else:
                self._offered[name] = task.result()

    async def _listed(self, name: str) -> McpFailure | None:
        try:
            self._offered[name] = await self._list(name)
        except McpError as error:
            self._client(name).forget()
            is_refused = isinstance(error, McpAuthenticationError)
            cause = causes.MCP_AUTHENTICATION if is_refused else causes.MCP_CONNECTION
            return _failure(name, cause, error.message)
        return None

    async def _list(self, name: str) -> tuple[McpTool, ...]:
        seconds = self._settings.mcp_connect_seconds
        try:
            async with asyncio.timeout(seconds):
                return await self._client(name).tools()
        except TimeoutError:  # the connection stays: a call may be running on it
            raise McpNotReachedError(f"the server did not answer within {seconds:g} s") from None

    def _client(self, name: str) -> McpClient:
        return self._clients.setdefault(name, self._client_for(name))


def _failure(server: str, cause: Cause, message: str) -> McpFailure:
    text = f"MCP server {server!r}: {message}. The session goes on without it; it is tried again with the next turn."
    return McpFailure(server=server, cause=cause, message=text)
