"""The queue of keys to reconcile: each key at most once waiting and once running, retried with back-off.

`QueueState` holds the rules and is pure but for its own fields; `WorkQueue` runs workers over it. One heap of
deadlines replaces a timer per object (style §3). Waiting deadlines cost nothing until they are due.
"""

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import structlog

from managed_agents.contracts.clock import Clock
from managed_agents.contracts.errors import ConflictError, RetryableError

Key = TypeVar("Key")

BACKOFF_FIRST_SECONDS = 0.25
BACKOFF_MAX_SECONDS = 60.0
"""A cause that is repaired is noticed within a minute (guarantee I9), mostly earlier, by an event."""

SOON_SECONDS = 0.25
"""How long news that nobody waits for may gather: a starting Pod alone brings half a dozen."""

WORKERS_DEFAULT = 8
"""Keys reconciled at once: each waits mostly for the kube-apiserver, which a burst must not flood."""

log = structlog.get_logger()


def backoff_seconds(failures: int, jitter: float) -> float:
    """Return the delay after the n-th failure in a row; `jitter` in [0, 1) spreads it over its upper half."""
    exponent = min(failures - 1, 16)
    return min(BACKOFF_FIRST_SECONDS * float(2**exponent), BACKOFF_MAX_SECONDS) * (0.5 + 0.5 * jitter)


@dataclass(slots=True)
class QueueState(Generic[Key]):
    """Which keys wait, run, must run again, or are due later. Times are monotonic seconds given by the caller."""

    ready: deque[Key] = field(default_factory=deque)
    queued: set[Key] = field(default_factory=set)
    running: set[Key] = field(default_factory=set)
    dirty: set[Key] = field(default_factory=set)
    due: dict[Key, float] = field(default_factory=dict)
    failures: dict[Key, int] = field(default_factory=dict)
    heap: list[tuple[float, int, Key]] = field(default_factory=list)
    _sequence: Iterator[int] = field(default_factory=itertools.count)

    def add(self, key: Key) -> None:
        """Make a key ready now; one that runs is run again afterwards."""
        self.due.pop(key, None)
        if key in self.running:
            self.dirty.add(key)
        elif key not in self.queued:
            self.queued.add(key)
            self.ready.append(key)

    def add_at(self, key: Key, when: float) -> None:
        """Make a key ready at a time, unless it is ready or due earlier anyway."""
        known = self.due.get(key)
        if key in self.queued or key in self.dirty or (known is not None and known <= when):
            return
        self.due[key] = when
        heapq.heappush(self.heap, (when, next(self._sequence), key))

    def take(self, now: float) -> Key | None:
        """Take the next ready key, which then runs; None when nothing is ready."""
        self._promote(now)
        if not self.ready:
            return None
        key = self.ready.popleft()
        self.queued.discard(key)
        self.running.add(key)
        return key

    def done(self, key: Key) -> None:
        """End the run of a key; it is ready again if it was added meanwhile."""
        self.running.discard(key)
        if key in self.dirty:
            self.dirty.discard(key)
            self.add(key)

    def next_due(self) -> float | None:
        """Return the time of the earliest deadline that still holds."""
        while self.heap and self.due.get(self.heap[0][2]) != self.heap[0][0]:
            heapq.heappop(self.heap)
        return self.heap[0][0] if self.heap else None

    def _promote(self, now: float) -> None:
        while (when := self.next_due()) is not None and when <= now:
            _, _, key = heapq.heappop(self.heap)
            self.add(key)


class WorkQueue(Generic[Key]):
    """Runs `handle(key)` for each key with bounded concurrency. What it returns is when to come back, in seconds."""

    def __init__(
        self,
        handle: Callable[[Key], Awaitable[float | None]],
        *,
        clock: Clock,
        random: Callable[[], float],
        workers: int = WORKERS_DEFAULT,
        soon_seconds: float = SOON_SECONDS,
    ) -> None:
        self._handle = handle
        self._clock = clock
        self._random = random
        self._workers = workers
        self._soon_seconds = soon_seconds
        self._kick = asyncio.Event()
        self.state: QueueState[Key] = QueueState()

    def add(self, key: Key) -> None:
        """Reconcile a key soon."""
        self.state.add(key)
        self._kick.set()

    def add_soon(self, key: Key) -> None:
        """Reconcile a key once for all that comes within `SOON_SECONDS`, unless it is due before."""
        self.state.add_at(key, self._clock.monotonic() + self._soon_seconds)
        self._kick.set()

    def __len__(self) -> int:
        return len(self.state.ready) + len(self.state.running)

    async def run(self) -> None:
        """Work until cancelled. A cancelled run is repeated by the next process: reconciling is level triggered."""
        slots = asyncio.Semaphore(self._workers)
        async with asyncio.TaskGroup() as group:
            while True:
                await slots.acquire()
                key = await self._next()
                group.create_task(self._work(key, slots))

    async def _next(self) -> Key:
        while True:
            self._kick.clear()
            key = self.state.take(self._clock.monotonic())
            if key is not None:
                return key
            due = self.state.next_due()
            timeout = None if due is None else max(due - self._clock.monotonic(), 0.0)
            try:
                async with asyncio.timeout(timeout):
                    await self._kick.wait()
            except TimeoutError:
                continue

    async def _work(self, key: Key, slots: asyncio.Semaphore) -> None:
        try:
            await self.process(key)
        finally:
            self.state.done(key)
            self._kick.set()
            slots.release()

    async def process(self, key: Key) -> None:
        """Handle one key now and schedule what follows; failures are logged and retried, never raised."""
        try:
            after = await self._handle(key)
        except Exception as failure:  # noqa: BLE001 - the queue's edge: one key's failure must not stop the others
            self._retry(key, failure)
            return
        self.state.failures.pop(key, None)
        if after is not None:
            self.state.add_at(key, self._clock.monotonic() + after)

    def _retry(self, key: Key, failure: Exception) -> None:
        count = self.state.failures.get(key, 0) + 1
        self.state.failures[key] = count
        delay = backoff_seconds(count, self._random())
        if isinstance(failure, (RetryableError, ConflictError)):
            delay = max(delay, getattr(failure, "delay_seconds", None) or 0.0)
            log.warning("reconcile_retried", key=str(key), failures=count, delay_seconds=delay, error=str(failure))
        else:
            log.error("reconcile_failed", key=str(key), failures=count, delay_seconds=delay, exc_info=failure)
        self.state.add_at(key, self._clock.monotonic() + delay)
