"""All open streams: each change of the log is framed once and given to every reader of its session."""

from collections.abc import Callable, Mapping
from typing import Any

import structlog

from managed_agents.contracts.clock import Clock, rfc3339
from managed_agents.contracts.events import types
from managed_agents.contracts.ids import new_event_id
from managed_agents.eventlog.records import Change
from managed_agents.server.services.catching_up import Pages
from managed_agents.server.sse import Frame, Stream, data_frame, event_frame, framed

_log = structlog.get_logger(__name__)


def _ignore(_: float) -> None:
    pass


class Streams:
    """The readers of every session.

    `on_drop` hears of each reader that was too slow; `on_delivery` how many seconds a frame took from its commit's
    arrival here to the sockets: once for all readers that were ready, and once for each that had to wait. `pages` are
    what resumed readers catch up with.
    """

    def __init__(
        self, clock: Clock, on_drop: Callable[[], None], on_delivery: Callable[[float], None] = _ignore
    ) -> None:
        self._clock = clock
        self._on_drop = on_drop
        self._on_delivery = on_delivery
        self._readers: dict[str, set[Stream]] = {}
        self.pages = Pages()
        self._closed = False

    def __len__(self) -> int:
        return sum(len(streams) for streams in self._readers.values())

    def open(self, session_id: str, previews: frozenset[str], abort: Callable[[], None]) -> Stream:
        """Register a reader: from now on it misses nothing."""

        def drop() -> None:
            self._on_drop()
            # What it is sent after this position it gets with `Last-Event-ID`.
            _log.info("stream_dropped", session=session_id, position=stream.position)
            abort()

        stream = Stream(session_id, previews, drop)
        self._readers.setdefault(session_id, set()).add(stream)
        if self._closed:
            stream.end()
        return stream

    def close(self, stream: Stream) -> None:
        """Take a reader out."""
        streams = self._readers.get(stream.session_id)
        if streams is not None:
            streams.discard(stream)
            if not streams:
                del self._readers[stream.session_id]

    def end_all(self) -> None:
        """End every stream: the server stops."""
        self._closed = True
        for streams in self._readers.values():
            for stream in streams:
                stream.end()

    def delivered(self, frame: Frame) -> None:
        """Note that a frame which had to wait was handed to its reader's connection."""
        self._on_delivery(self._clock.monotonic() - frame.at)

    def on_change(self, change: Change) -> None:
        """Give a change of the log to the session's readers: first what was processed, then what is new."""
        if change.session is None:
            self.pages.forget(change.session_id)
        streams = self._readers.get(change.session_id)
        if streams is None:
            return
        started = self._clock.monotonic()
        for event in change.stamped:
            frame = framed(event_frame(event, resumable=False), started)
            for stream in streams:
                stream.copy(frame)
        for event in change.events:
            frame = framed(event_frame(event), started)
            for stream in streams:
                stream.event(event, frame)
        if change.session is None:
            self._deleted(streams, started)
        if change.events or change.stamped:
            self._on_delivery(self._clock.monotonic() - started)

    def preview(self, session_id: str, event: Mapping[str, Any]) -> None:
        """Give a preview to the readers that asked for it."""
        streams = self._readers.get(session_id)
        if streams is None:
            return
        frame = framed(data_frame(event), self._clock.monotonic())
        for stream in streams:
            stream.preview(event, frame)

    def _deleted(self, streams: set[Stream], at: float) -> None:
        event = {"type": types.SESSION_DELETED, "id": new_event_id(), "processed_at": rfc3339(self._clock.now())}
        frame = framed(data_frame(event), at)
        for stream in streams:
            stream.copy(frame)
            stream.end()
