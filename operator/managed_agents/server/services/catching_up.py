"""What a resumed stream has missed, read from the log; pages that many readers want are framed once.

A page is a fixed range of positions. Once it is full and all of it is processed it never changes again (I3), so it can
be kept: after a restart a thousand readers of one session come back at once and want the same.
"""

import asyncio
import itertools
from array import array
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from managed_agents.contracts.events import types
from managed_agents.eventlog.records import LoggedEvent, Slice
from managed_agents.eventlog.store import EventLog
from managed_agents.server.sse import event_frame

PAGE_EVENTS = 500
CACHE_BYTES_MAX = 16 * 1024 * 1024

LOOK_BACK_EVENTS = 100
"""How far to look for an event whose time bounds when a reader left; without one it gets a few copies too many."""

Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Page:
    """Frames of the events after position `first`, up to and with `last`; `starts` are where each begins."""

    first: int
    last: int
    frames: bytes
    starts: "array[int]"

    def after(self, position: int) -> bytes:
        """Return the frames of the page's events after a position."""
        return self.frames if position == self.first else self.frames[self.starts[position - self.first] :]


class Pages:
    """Pages of frames for readers that catch up."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Key, Page] = OrderedDict()
        self._bytes = 0
        self._reading: dict[Key, asyncio.Task[Page]] = {}

    async def after(self, log: EventLog, session_id: str, position: int, head: int) -> tuple[bytes, int]:
        """Return frames of events after a position, and the last one's; none at the end of the log.

        `head` is a position that the log has reached. Raises: NotFoundError, DamagedError.
        """
        first = position - position % PAGE_EVENTS
        if first + PAGE_EVENTS > head:  # the log's end still grows: no two readers want the same for long
            page = await self._read(log, (session_id, position))
        else:
            page = await self._shared(log, (session_id, first))
            if page.last <= position:  # a page of large events ends early
                page = await self._read(log, (session_id, position))
        return page.after(position), page.last

    async def _shared(self, log: EventLog, key: Key) -> Page:
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
            return kept
        task = self._reading.get(key)
        if task is None:
            task = self._reading[key] = asyncio.ensure_future(self._read(log, key))
            task.add_done_callback(lambda done: self._done(key, done))
        return await asyncio.shield(task)  # a reader that goes away must not take the page from the others

    def forget(self, session_id: str) -> None:
        """Drop the pages of a session that is deleted."""
        for key in [key for key in self._kept if key[0] == session_id]:
            self._bytes -= len(self._kept.pop(key).frames)

    def _done(self, key: Key, task: asyncio.Task[Page]) -> None:
        del self._reading[key]
        if not task.cancelled():
            task.exception()  # every reader that wanted it may have gone: then nobody else looks at it

    async def _read(self, log: EventLog, key: Key) -> Page:
        session_id, first = key
        end = first - first % PAGE_EVENTS + PAGE_EVENTS
        events = await log.read(session_id, Slice(after=first, before=end + 1, limit=PAGE_EVENTS))
        frames = [event_frame(event) for event in events]
        starts = array("I", itertools.accumulate(map(len, frames), initial=0))
        page = Page(first, events[-1].position if events else first, b"".join(frames), starts)
        is_final = page.last == end and all(event.processed_at is not None for event in events)
        if is_final and first + PAGE_EVENTS == end:
            self._keep(key, page)
        return page

    def _keep(self, key: Key, page: Page) -> None:
        self._kept[key] = page
        self._bytes += len(page.frames)
        while self._bytes > CACHE_BYTES_MAX:
            _, dropped = self._kept.popitem(last=False)
            self._bytes -= len(dropped.frames)


async def processed_since(log: EventLog, session_id: str, position: int) -> AsyncIterator[bytes]:
    """Yield copies of what a reader may have seen unprocessed: client events up to where it left, processed since.

    Some may be processed for longer: a copy too many is harmless, the last copy counts. Raises: as `EventLog.read`.
    """
    since = await _left_at(log, session_id, position)
    after = 0
    while True:
        wanted = Slice(
            after=after,
            before=position + 1,
            limit=PAGE_EVENTS,
            types=tuple(sorted(types.CLIENT_TYPES)),
            processed=((">=", since),),
        )
        events = await log.read(session_id, wanted)
        if not events:
            return
        yield b"".join(event_frame(event, resumable=False) for event in events)
        after = events[-1].position


async def _left_at(log: EventLog, session_id: str, position: int) -> str:
    """Return a time not after that at which the event at a position was stored; empty when none is known."""
    back = Slice(before=position + 1, limit=LOOK_BACK_EVENTS, backwards=True)
    events: Sequence[LoggedEvent] = await log.read(session_id, back)
    stored = (event.processed_at for event in events if event.type not in types.CLIENT_TYPES)
    return next(stored, None) or ""
