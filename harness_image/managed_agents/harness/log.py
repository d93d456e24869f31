"""The session's log as its one writer knows it: folded without gap, extended as events are written and arrive."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from managed_agents.contracts.errors import HeadMismatchError
from managed_agents.harness.events import NewEvent
from managed_agents.harness.history.fold import apply
from managed_agents.harness.history.state import Event, State
from managed_agents.harness.platform import Lease, Platform
from managed_agents.harness.timing import Stopwatch

T = TypeVar("T")

SLICE_EVENTS = 1000
"""Events read at once, the platform's bound."""


class SessionLog:
    """A log that outlives leases: after a new one it is read on from where it was.

    Own events come back from the append, those of others over the lease; `state` sees them in the order of positions.
    What `stopwatch` holds goes with the next append.
    """

    def __init__(self, platform: Platform, session: str, state: State | None = None) -> None:
        self.state = state or State()
        self.session = session
        self.stopwatch = Stopwatch()
        self._platform = platform
        self._epoch = 0
        self._early: dict[int, Event] = {}
        self._changed = asyncio.Event()

    async def resume(self, lease: Lease) -> None:
        """Write under this lease from now on, and read what the log holds up to its beginning."""
        self._epoch = lease.epoch
        self._early.clear()
        while self.state.head < lease.head:
            await self._read()

    def receive(self, event: Event) -> None:
        """Take in an event that somebody else wrote; twice is once."""
        self._early[event["position"]] = event
        self._fold_ready()
        self.notify()

    def notify(self) -> None:
        """Let whoever waits look again."""
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds; it is looked at after each change."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    async def uninterrupted(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Do something unless an interrupt waits or arrives: then it is cancelled, and None returned."""
        task = asyncio.ensure_future(work)
        alarm = asyncio.ensure_future(self.until(lambda: self.state.interrupted))
        try:
            await asyncio.wait((task, alarm), return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            for pending in (task, alarm):
                pending.cancel()
            await asyncio.gather(task, alarm, return_exceptions=True)

    async def append(
        self, events: Sequence[NewEvent], *, processed: Sequence[str] = (), expected_head: int | None = None
    ) -> bool:
        """Append all or none and fold them. False: the head is not the expected one, and the log was read on instead.

        Raises: FencedError when another writer has taken over, ConnectionError when the platform stays away.
        """
        timing = self.stopwatch.told()
        try:
            receipt = await self._platform.emit_event(
                self.session, self._epoch, events, processed=processed, expected_head=expected_head, timing=timing
            )
        except HeadMismatchError as mismatch:
            while self.state.head < mismatch.head:
                await self._read()
            return False
        self.stopwatch.forget(len(timing))
        for event, stamp in zip(events, receipt.stamps, strict=True):
            self._early[stamp["position"]] = {**event, **stamp}
        self._fold_ready()
        while self._early:  # an event of somebody else lies before ours and has not arrived yet
            await self._read()
        return True

    async def walk(self, after: int) -> AsyncIterator[Event]:
        """Yield the events after a position as they were logged, up to the head that is known now."""
        head = self.state.head
        while after < head:
            found = await self._platform.get_events(self.session, after=after, limit=SLICE_EVENTS)
            if not found.events:
                raise ConnectionError(f"the log of {self.session} ends at {found.head}, behind what was acknowledged")
            for event in found.events:
                yield event
            after = found.events[-1]["position"]

    async def _read(self) -> None:
        found = await self._platform.get_events(self.session, after=self.state.head, limit=SLICE_EVENTS)
        if not found.events:
            raise ConnectionError(f"the log of {self.session} ends at {found.head}, behind what was acknowledged")
        for event in found.events:
            if event["position"] > self.state.head:
                apply(self.state, event)
        self._fold_ready()

    def _fold_ready(self) -> None:
        while (event := self._early.pop(self.state.head + 1, None)) is not None:
            apply(self.state, event)
        for position in [position for position in self._early if position <= self.state.head]:
            del self._early[position]
