"""Which hand runs a call: the proxy for web tools, the sandbox for everything else."""

from collections.abc import Coroutine
from dataclasses import dataclass, replace
from typing import Any

from managed_agents.harness.history.state import ToolUse
from managed_agents.harness.tools.hand import Hand, ToolResult
from managed_agents.harness.tools.perform import perform
from managed_agents.harness.tools.web import WEB_TOOLS


@dataclass(frozen=True, slots=True, kw_only=True)
class Hands:
    """The hands of a lease."""

    sandbox: Hand
    web: Hand

    def perform(self, use: ToolUse, *, recovers: bool, last_generation: int | None) -> Coroutine[Any, Any, ToolResult]:
        """Run a call on its hand; see `perform`. `last_generation` is the sandbox's."""
        if use.name in WEB_TOOLS:
            here = replace(use, sandbox=None)  # which sandbox was held then means nothing to it
            return perform(self.web, here, recovers=recovers, last_generation=None, place="web tools")
        return perform(self.sandbox, use, recovers=recovers, last_generation=last_generation)

    async def cancel(self, use: ToolUse) -> None:
        """Stop a call on its hand."""
        await (self.web if use.name in WEB_TOOLS else self.sandbox).cancel(use.id)
