"""The moments of each wake, from its message to the idle session: load and harnesses write, the report reads."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class Wake:
    """Seconds on this process's monotonic clock; None where it has not come."""

    due_at: float
    accepted_at: float | None = None
    leased_at: float | None = None
    first_at: float | None = None
    idle_at: float | None = None


@dataclass(slots=True, kw_only=True)
class Tally:
    """Idle sessions in the order in which they are woken next, and the wakes of this load."""

    idle: deque[str]
    wakes: list[Wake] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    """How many milliseconds after its time each message was sent: how late the load itself was."""
    failures: Counter[str] = field(default_factory=Counter)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    _open: dict[str, Wake] = field(default_factory=dict)

    def begin(self) -> None:
        """Forget the wakes of the last load; those still open are nobody's."""
        self.wakes, self.late, self._open = [], [], {}
        self.failures.clear()

    def posted(self, session: str, due: float) -> Wake:
        """Note that a message is sent, which was due at that moment."""
        wake = Wake(due_at=due)
        self.wakes.append(wake)
        self._open[session] = wake
        return wake

    def leased(self, session: str) -> None:
        """Note that a harness holds the session."""
        if (wake := self._open.get(session)) is not None and wake.leased_at is None:
            wake.leased_at = time.monotonic()

    def first(self, session: str) -> None:
        """Note that the turn's first events are committed."""
        if (wake := self._open.get(session)) is not None and wake.first_at is None:
            wake.first_at = time.monotonic()

    def ended(self, session: str) -> None:
        """Note that the turn has ended."""
        if (wake := self._open.pop(session, None)) is not None:
            wake.idle_at = time.monotonic()
        self.changed.set()

    def free(self, session: str) -> None:
        """Let a session be woken again, after all others."""
        self.idle.append(session)

    @property
    def open_count(self) -> int:
        """Return how many wakes have not come to their end."""
        return len(self._open)

    async def drained(self, seconds: float) -> bool:
        """Wait until every wake has ended; False where the bound came first."""
        try:
            async with asyncio.timeout(seconds):
                while self._open:
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            return False
        return True


def spans(wakes: Iterable[Wake], name: str) -> list[float]:
    """Return milliseconds from the message to a later moment, of the wakes that reached it."""
    found = ((wake.due_at, getattr(wake, name)) for wake in wakes)
    return [(at - due) * 1000 for due, at in found if at is not None]
