"""Who wants to know that a session changed: watchers, and calls that wait for one session."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from managed_agents.eventlog.records import Change

_BOOT_BITS = 32


class Waiters:
    """Calls that wait for something to happen to one key."""

    def __init__(self) -> None:
        self._events: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    @contextmanager
    def waiting(self, key: str) -> Iterator[asyncio.Event]:
        """Give an event that is set at each `wake` of the key; whoever waits clears it before looking again."""
        event = asyncio.Event()
        self._events[key].add(event)
        try:
            yield event
        finally:
            self._events[key].discard(event)
            if not self._events[key]:
                del self._events[key]

    def wake(self, key: str) -> None:
        """Set the events of a key."""
        for event in self._events.get(key, ()):
            event.set()

    def wake_all(self) -> None:
        """Set the events of every key."""
        for key in list(self._events):
            self.wake(key)


class Watch:
    """The sessions that changed since they were last taken; many changes of one are one."""

    def __init__(self) -> None:
        self._dirty: dict[str, None] = {}
        self._ready = asyncio.Event()
        self.closed = False

    def mark(self, session_id: str) -> None:
        """Note a change."""
        self._dirty[session_id] = None
        self._ready.set()

    def close(self) -> None:
        """End the watch."""
        self.closed = True
        self._ready.set()

    async def take(self, seconds: float) -> list[str]:
        """Return the ids that changed, oldest change first; empty after that many seconds without one."""
        try:
            async with asyncio.timeout(seconds):
                await self._ready.wait()
        except TimeoutError:
            return []
        self._ready.clear()
        taken, self._dirty = list(self._dirty), {}
        return taken


class ChangeFeed:
    """Tells of changes that show in a summary and numbers them.

    A revision holds the log's boot count above a counter, so it grows across restarts without a write for what only
    this process knows (leases).
    """

    def __init__(self, boot: int) -> None:
        self._revision = boot << _BOOT_BITS
        self._revisions: dict[str, int] = {}
        self._watches: set[Watch] = set()
        self._waiters = Waiters()
        self._oldest = self._revision
        self._closed = False

    def on_change(self, change: Change) -> None:
        """Take a change of the log."""
        self.notify(change.session_id)
        if change.session is None:
            self._revisions.pop(change.session_id, None)

    def notify(self, session_id: str) -> None:
        """Tell that a session's summary may differ now."""
        self._revision += 1
        self._revisions[session_id] = self._revision
        for watch in self._watches:
            watch.mark(session_id)
        self._waiters.wake(session_id)

    def revision(self, session_id: str) -> int:
        """Return the number of a session's last change."""
        return self._revisions.get(session_id, self._oldest)

    @contextmanager
    def watch(self) -> Iterator[Watch]:
        """Collect changes of all sessions."""
        watch = Watch()
        self._watches.add(watch)
        if self._closed:
            watch.close()
        try:
            yield watch
        finally:
            self._watches.discard(watch)

    def waiting(self, session_id: str) -> AbstractContextManager[asyncio.Event]:
        """Give an event that is set at each change of one session; whoever waits clears it."""
        return self._waiters.waiting(session_id)

    def close(self) -> None:
        """End all watches: the server stops."""
        self._closed = True
        for watch in self._watches:
            watch.close()
