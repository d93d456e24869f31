"""A hand that is made ready before the first call needs it: while the model still writes that call.

Asking early is a hint and nothing more. It fails silently, for the call that needs the hand asks again and says why;
and what was made ready for a stream that broke stays for the next call.
"""

import asyncio

from managed_agents.harness.tools.hand import Hand
from managed_agents.harness.tools.wrapped import WrappedHand


class EarlyHand(WrappedHand):
    """A hand around a hand. Whoever provisions it while it is being made ready joins that."""

    def __init__(self, hand: Hand) -> None:
        super().__init__(hand)
        self._asked: asyncio.Task[int] | None = None

    def expect(self) -> None:
        """Begin to make the hand ready, beside everything else, unless it is or is being made so."""
        if self._hand.generation is None and (self._asked is None or self._asked.done()):
            self._asked = asyncio.create_task(self._hand.provision())
            self._asked.add_done_callback(_noted)

    async def provision(self) -> int:
        """Make the hand ready; see `Hand`."""
        if self._asked is not None and not self._asked.done():
            return await asyncio.shield(self._asked)
        return await self._hand.provision()

    async def close(self) -> None:
        """Ask no more."""
        if self._asked is not None:
            self._asked.cancel()
            await asyncio.gather(self._asked, return_exceptions=True)


def _noted(asked: asyncio.Task[int]) -> None:
    if not asked.cancelled():
        asked.exception()
