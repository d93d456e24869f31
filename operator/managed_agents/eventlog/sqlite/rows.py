"""Rows to values and back, each with a checksum that every read verifies (F3)."""

from collections.abc import Iterable, Sequence
from typing import Any

import orjson
from isal.isal_zlib import crc32  # zlib's, by the instructions made for it: ten times as fast

from managed_agents.eventlog.errors import DamagedError
from managed_agents.eventlog.projection import VERSION, Folded, Projection
from managed_agents.eventlog.records import LoggedEvent
from managed_agents.eventlog.sqlite.schema import POSITION_BITS

SELECT_EVENTS = "SELECT key, id, type, epoch, processed_at, body, private, sum FROM events"
_POSITIONS = (1 << POSITION_BITS) - 1
EventRow = tuple[int, str, str, int | None, str | None, bytes, bytes | None, int]


def key_for(sid: int, position: int) -> int:
    """Return the key of an event; `position` 0 lies before a session's first."""
    return sid << POSITION_BITS | position


def checksum(event: LoggedEvent) -> int:
    """Return the checksum of all that a record holds; `events_from` verifies it."""
    _, position, event_id, event_type, epoch, at, body, private = event
    found = crc32(f"{position}\n{event_id}\n{event_type}\n{epoch}\n{at}\n".encode() + body)
    return found if private is None else crc32(private, found)


def row_for(sid: int, event: LoggedEvent) -> EventRow:
    """Return the row that stores an event."""
    key = key_for(sid, event.position)
    return (key, event.id, event.type, event.epoch, event.processed_at, event.body, event.private, checksum(event))


def event_from(session: str, row: Sequence[Any]) -> LoggedEvent:
    """Return the event of a row. Raises: DamagedError when its checksum fails."""
    return events_from(session, (row,))[0]


def events_from(session: str, rows: Iterable[Sequence[Any]], *, bytes_max: int = 0) -> list[LoggedEvent]:
    """Return the events of rows, up to the one whose body exceeds a bound of bytes in all, where there is one.

    One function without calls of ours: each of them would cost a slice a tenth of its time.

    Raises: DamagedError when a checksum fails.
    """
    events: list[LoggedEvent] = []
    add, new, size = events.append, tuple.__new__, 0
    for key, event_id, event_type, epoch, at, body, private, stored in rows:
        position = key & _POSITIONS
        try:
            found = crc32(f"{position}\n{event_id}\n{event_type}\n{epoch}\n{at}\n".encode() + body)
            if private is not None:
                found = crc32(private, found)
        except TypeError:  # a flipped type byte turns a blob into a number
            found = -1
        if found != stored:
            raise DamagedError(f"session {session}: the record at position {position} fails its checksum")
        add(new(LoggedEvent, (session, position, event_id, event_type, epoch, at, body, private)))
        size += len(body)
        if bytes_max and size > bytes_max:
            break
    return events


def folded_from(event: LoggedEvent) -> Folded:
    """Return a stored event as the fold wants it."""
    private = {} if event.private is None else orjson.loads(event.private)
    return Folded(
        position=event.position,
        at=event.processed_at or "",
        event=orjson.loads(event.body),
        internal=private.get("internal"),
        client="sender" in private,
        on_receipt=private.get("on_receipt", False),
    )


def projection_row(sid: int, projection: Projection) -> tuple[int, int, int, bytes, int]:
    """Return the row that stores a projection: of the last message its position, for its text is in the log already.

    The row is written with every append, whatever that holds; with the text it would be several times as long.
    """
    message = projection.last_message
    stored = projection._replace(last_message=None if message is None else {"position": message["position"]})
    encoded = orjson.dumps(stored._asdict(), default=dict)
    return (sid, projection.head, VERSION, encoded, crc32(encoded))


def projection_from(row: Sequence[Any] | None) -> Projection | None:
    """Return a stored projection, of whose last message it has the position only.

    Null when it must be folded anew: absent, of another version, or damaged.
    """
    if row is None:
        return None
    head, version, encoded, stored = row
    if version != VERSION or not isinstance(encoded, bytes) or crc32(encoded) != stored:
        return None
    values = orjson.loads(encoded)
    projection = Projection(**{**values, "required": tuple(values["required"])})
    return projection if projection.head == head else None
