"""A hand around a hand: what wraps one to change a part of it passes on the rest."""

from managed_agents.harness.tools.hand import Call, Hand, Lookup, ToolResult


class WrappedHand:
    """Passes everything on; see `Hand` for each."""

    def __init__(self, hand: Hand) -> None:
        self._hand = hand

    @property
    def generation(self) -> int | None:
        """Return the hand's generation."""
        return self._hand.generation

    async def provision(self) -> int:
        """Make the hand ready."""
        return await self._hand.provision()

    async def execute(self, call: Call) -> ToolResult:
        """Run a call."""
        return await self._hand.execute(call)

    async def lookup(self, call_id: str) -> Lookup:
        """Ask for a call."""
        return await self._hand.lookup(call_id)

    async def cancel(self, call_id: str) -> None:
        """Stop a call."""
        await self._hand.cancel(call_id)
