"""Slices of a log: one range scan each, every record verified, gaps noticed."""

from typing import Any

import apsw

from managed_agents.contracts.events import types
from managed_agents.eventlog.errors import DamagedError
from managed_agents.eventlog.records import SLICE_BYTES_MAX, LoggedEvent, Slice
from managed_agents.eventlog.sqlite.rows import SELECT_EVENTS, events_from, key_for
from managed_agents.eventlog.sqlite.state import State


def read(state: State, session_id: str, wanted: Slice) -> list[LoggedEvent]:
    """Return a slice. Raises: NotFoundError; DamagedError, and then the session is read-only."""
    sid = state.entry(session_id).sid
    query, bindings = _query(sid, wanted)
    try:
        found = state.connection.execute(query, bindings)
        events = events_from(session_id, found, bytes_max=SLICE_BYTES_MAX)
        _require_contiguous(session_id, wanted, events)
    except (DamagedError, apsw.CorruptError) as error:
        state.mark_damaged(session_id, str(error))
        raise DamagedError(str(error)) from error
    return events


def position(state: State, session_id: str, event_id: str) -> int | None:
    """Return where an event of this session stands."""
    sid = state.entry(session_id).sid
    row = state.connection.execute("SELECT key FROM events WHERE id = ?", (event_id,)).fetchone()
    return row[0] - key_for(sid, 0) if row is not None and key_for(sid, 0) < row[0] < key_for(sid + 1, 0) else None


def _is_of_clients_since(wanted: Slice) -> bool:
    """Tell whether a slice wants client events that were processed since a time: an index holds just those."""
    return (
        bool(wanted.types)
        and types.CLIENT_TYPES.issuperset(wanted.types)
        and any(operator in (">", ">=") for operator, _ in wanted.processed)
    )


def _query(sid: int, wanted: Slice) -> tuple[str, list[Any]]:
    end = key_for(sid + 1, 0) if wanted.before is None else min(key_for(sid, wanted.before), key_for(sid + 1, 0))
    source, terms = SELECT_EVENTS, ["key > ?", "key < ?"]
    bindings: list[Any] = [key_for(sid, wanted.after), end]
    if _is_of_clients_since(wanted):
        source += " INDEXED BY client_events_processed"
        terms += ["epoch IS NULL", "key >> 32 = ?"]
        bindings.append(sid)
    if wanted.types:
        terms.append(f"type IN ({','.join('?' * len(wanted.types))})")
        bindings += wanted.types
    for operator, moment in wanted.processed:
        terms.append(f"processed_at {operator} ?")
        bindings.append(moment)
    order = "DESC" if wanted.backwards else "ASC"
    query = f"{source} WHERE {' AND '.join(terms)} ORDER BY key {order} LIMIT ?"
    return query, [*bindings, wanted.limit]


def _require_contiguous(session_id: str, wanted: Slice, events: list[LoggedEvent]) -> None:
    if wanted.types or wanted.processed or not events:
        return
    step = -1 if wanted.backwards else 1
    first = events[0].position if wanted.backwards else wanted.after + 1
    for offset, event in enumerate(events):
        if event.position != first + step * offset:
            raise DamagedError(f"session {session_id}: the record at position {first + step * offset} is missing")
