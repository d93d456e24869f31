"""A hand whose calls are timed: how long they waited for it, and how long it took."""

from managed_agents.harness.timing import Stopwatch
from managed_agents.harness.tools.hand import Call, Finished, Hand, Lookup, ToolResult
from managed_agents.harness.tools.wrapped import WrappedHand


class TimedHand(WrappedHand):
    """A hand around a hand. What fails or is cancelled took its time too."""

    def __init__(self, hand: Hand, stopwatch: Stopwatch) -> None:
        super().__init__(hand)
        self._stopwatch = stopwatch

    async def provision(self) -> int:
        """Make the hand ready; see `Hand`."""
        try:
            return await super().provision()
        finally:
            self._stopwatch.tool_sent()

    async def execute(self, call: Call) -> ToolResult:
        """Run a call; see `Hand`."""
        run_seconds = None
        try:
            result = await super().execute(call)
            run_seconds = result.run_seconds
        finally:
            self._stopwatch.tool_answered(run_seconds)
        return result

    async def lookup(self, call_id: str) -> Lookup:
        """Ask for a call; see `Hand`."""
        found = await super().lookup(call_id)
        if isinstance(found, Finished):
            self._stopwatch.tool_answered()
        return found

    async def cancel(self, call_id: str) -> None:
        """Stop a call; see `Hand`."""
        await super().cancel(call_id)
        self._stopwatch.tool_answered()
