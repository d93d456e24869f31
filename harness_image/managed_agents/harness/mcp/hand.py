"""An MCP server as a hand, and a call from its intent to its result there.

MCP keeps no journal that could be asked, so `lookup` knows nothing: a call that a harness left behind when it died is
told to be of unknown outcome, and never repeated (design §6, guarantee I6).
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from managed_agents.harness.history.state import ToolUse
from managed_agents.harness.mcp.client import McpClient, bounded
from managed_agents.harness.mcp.content import result_from
from managed_agents.harness.mcp.errors import (
    McpAuthenticationError,
    McpError,
    McpNotReachedError,
    McpRefusedError,
)
from managed_agents.harness.settings import Settings
from managed_agents.harness.tools.hand import (
    Call,
    Hand,
    HandUnavailableError,
    HandUnreachableError,
    Lookup,
    NeverSeen,
    ToolResult,
    error_result,
)

GENERATION = 1
"""A server has no incarnations that we could tell apart."""

UNKNOWN = (
    "The harness was replaced while this call may have been running. Whether it took effect is unknown; it was not "
    "repeated. Check before you call the tool again."
)


class McpHand:
    """One server. `Call.name` is the tool's own name; `refused` hears why no credential is good enough."""

    def __init__(self, client: McpClient, settings: Settings, refused: Callable[[str], None] = lambda _: None) -> None:
        self._client = client
        self._settings = settings
        self._refused = refused

    @property
    def generation(self) -> int | None:
        """Return the one generation there ever is."""
        return GENERATION

    async def provision(self) -> int:
        """Connect, unless that was done. Raises: HandUnavailableError."""
        seconds = self._settings.mcp_connect_seconds
        try:
            async with asyncio.timeout(seconds):
                await self._client.connect()
        except TimeoutError:
            raise HandUnavailableError(message=f"the server did not answer within {seconds:g} s.") from None
        except McpError as error:
            self._tell(error)
            raise HandUnavailableError(message=f"{error.message}.") from None
        return GENERATION

    async def execute(self, call: Call) -> ToolResult:
        """Call a tool; its silence is bounded, and progress breaks it. Raises: as the protocol says."""
        seconds = self._settings.mcp_silence_seconds
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(seconds) as limit:
                result = await self._call(call, lambda: limit.reschedule(loop.time() + seconds))
        except TimeoutError:
            await self.cancel(call.id)
            raise HandUnreachableError(message=f"no answer within {seconds:g} s; the call was cancelled.") from None
        return result_from(result)

    async def lookup(self, call_id: str) -> Lookup:  # noqa: ARG002 - no server of MCP can be asked that
        """Know nothing."""
        return NeverSeen()

    async def cancel(self, call_id: str) -> None:
        """Tell the server that nobody waits for the call; it may or may not stop."""
        await bounded(lambda: self._client.cancel(call_id), self._settings.cancel_seconds)

    async def _call(self, call: Call, progressed: Any) -> Mapping[str, Any]:
        try:
            return await self._client.call(call.id, call.name, call.input, progressed)
        except McpRefusedError as error:
            return {"content": [{"type": "text", "text": error.message}], "isError": True}
        except McpNotReachedError as error:
            self._tell(error)
            self._client.forget()
            raise HandUnavailableError(message=f"{error.message}.") from None
        except McpError as error:
            self._client.forget()
            raise HandUnreachableError(message=f"{error.message}.") from None

    def _tell(self, error: McpError) -> None:
        if isinstance(error, McpAuthenticationError):
            self._refused(error.message)


async def perform(hand: Hand, use: ToolUse, *, recovers: bool) -> ToolResult:
    """Run a call and return its result; faults of the server are error results.

    With `recovers` a predecessor may have started it: then nothing runs.
    """
    if recovers:
        return error_result(UNKNOWN)
    try:
        await hand.provision()
        return await hand.execute(Call(id=use.id, name=use.name, input=use.input))
    except HandUnavailableError as error:
        return error_result(f"MCP server {use.server!r} not reached: {error.message} The call did not run.")
    except HandUnreachableError as error:
        return error_result(f"MCP server {use.server!r}, outcome unknown: {error.message}")
