"""Which hand runs a call: the proxy for web tools, a server for its own, the sandbox for everything else."""

from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from managed_agents.harness.history.state import ToolUse
from managed_agents.harness.mcp.hand import perform as perform_at_server
from managed_agents.harness.timing import Stopwatch
from managed_agents.harness.tools.hand import Hand, ToolResult
from managed_agents.harness.tools.perform import perform
from managed_agents.harness.tools.timed import TimedHand
from managed_agents.harness.tools.web import WEB_TOOLS


class Hands:
    """The hands of a lease, each call timed. `server` gives the hand that an MCP server is, by its name."""

    def __init__(self, *, sandbox: Hand, web: Hand, server: Callable[[str], Hand], stopwatch: Stopwatch) -> None:
        self._sandbox, self._web = TimedHand(sandbox, stopwatch), TimedHand(web, stopwatch)
        self._server, self._stopwatch = server, stopwatch
        self._ran_one = False

    @property
    def generation(self) -> int | None:
        """Return the sandbox's generation."""
        return self._sandbox.generation

    def perform(self, use: ToolUse, *, recovers: bool, last_generation: int | None) -> Coroutine[Any, Any, ToolResult]:
        """Run a call on its hand; see `perform`. `last_generation` is the sandbox's."""
        # A predecessor ran calls one by one in this order, so it can have started none but the first that is open.
        is_first, self._ran_one = not self._ran_one, True
        if use.server is not None:
            return perform_at_server(self._at(use), use, recovers=recovers and is_first)
        if use.name in WEB_TOOLS:
            here = replace(use, sandbox=None)  # which sandbox was held then means nothing to it
            return perform(self._web, here, recovers=recovers, last_generation=None, place="web tools")
        return perform(self._sandbox, use, recovers=recovers, last_generation=last_generation)

    async def cancel(self, use: ToolUse) -> None:
        """Stop a call on its hand."""
        await self._at(use).cancel(use.id)

    def _at(self, use: ToolUse) -> Hand:
        if use.server is not None:
            return TimedHand(self._server(use.server), self._stopwatch)
        return self._web if use.name in WEB_TOOLS else self._sandbox
