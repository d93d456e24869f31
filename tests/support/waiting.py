"""Bounded waits for what another task does."""

import asyncio
from collections.abc import Callable

WAIT_SECONDS = 5.0
_TURN_SECONDS = 0.005


async def until(is_so: Callable[[], bool], seconds: float = WAIT_SECONDS) -> None:
    """Let other tasks run until a probe is true. Raises: TimeoutError when it is not within the bound."""
    async with asyncio.timeout(seconds):
        while not is_so():  # noqa: ASYNC110 - a probe looks at what tells nobody when it changes
            await asyncio.sleep(_TURN_SECONDS)
