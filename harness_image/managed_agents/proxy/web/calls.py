"""Calls of web tools by their ids: run once, joined by whoever asks again, answered from memory for a while after.

They have no effect, so this journal may end with the process: a harness that finds it empty runs the call again.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from managed_agents.proxy.errors import RefusedError
from managed_agents.proxy.web.problems import WebProblemError

RUNNING_MAX = 8
"""Calls at once; a harness runs one at a time, and one that it left behind may still run."""

KEPT_MAX = 16
"""Results that are kept, at most 100,000 characters each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebResult:
    """What a call brought. `searches` is how many a search provider was asked for."""

    content: list[dict[str, Any]]
    is_error: bool = False
    searches: int = 0

    def rendered(self) -> dict[str, object]:
        """Return the result as the hand protocol has it."""
        return {"content": self.content, "is_error": self.is_error, "searches": self.searches}


class WebCalls:
    """The journal."""

    def __init__(self) -> None:
        self._calls: OrderedDict[str, asyncio.Task[WebResult]] = OrderedDict()

    async def run(self, call_id: str, work: Callable[[], Awaitable[WebResult]]) -> WebResult:
        """Run a call, or join or repeat the one of that id. Raises: RefusedError, 429, when too many run."""
        task = self._calls.get(call_id)
        if task is None:
            if sum(not known.done() for known in self._calls.values()) >= RUNNING_MAX:
                raise RefusedError(429, "too_many_calls", f"{RUNNING_MAX} web calls run already")
            task = self._calls[call_id] = asyncio.create_task(_settled(work))
            self._forget_old()
        # A caller that leaves ends its question, not the call: the next harness may come for it.
        return await asyncio.shield(task)

    def lookup(self, call_id: str) -> WebResult | None:
        """Return a call's result, None while it runs. Raises: RefusedError, 404, for one that is not known."""
        task = self._calls.get(call_id)
        if task is None:
            raise RefusedError(404, "not_found", "no web call of this id is known")
        return task.result() if task.done() else None

    async def cancel(self, call_id: str) -> None:
        """End a call if it runs."""
        task = self._calls.get(call_id)
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait([task])

    async def close(self) -> None:
        """End all."""
        for call_id in tuple(self._calls):
            await self.cancel(call_id)

    def _forget_old(self) -> None:
        done = [call_id for call_id, task in self._calls.items() if task.done()]
        for call_id in done[: max(0, len(self._calls) - KEPT_MAX)]:
            del self._calls[call_id]


async def _settled(work: Callable[[], Awaitable[WebResult]]) -> WebResult:
    """Turn what a tool says it cannot do into a result; so does a cancelled call, whose result may be asked for."""
    try:
        return await work()
    except WebProblemError as problem:
        return error_result(str(problem))
    except asyncio.CancelledError:
        return error_result("unavailable: the call was cancelled")


def error_result(text: str) -> WebResult:
    """Return a result that tells the model what went wrong."""
    return WebResult(content=[{"type": "text", "text": text}], is_error=True)
