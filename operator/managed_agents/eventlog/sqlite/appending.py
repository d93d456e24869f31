"""An append, inside its transaction: all checks and folds first, writes last, so that a refusal leaves no trace."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from managed_agents.contracts.errors import ConflictError, FencedError, HeadMismatchError, RejectedError
from managed_agents.contracts.events import types
from managed_agents.eventlog.errors import KeyReusedError, PreviouslyRejectedError
from managed_agents.eventlog.projection import Folded, Projection, fold
from managed_agents.eventlog.records import Appended, Change, LoggedEvent, Rejection, Session
from managed_agents.eventlog.sqlite import rows
from managed_agents.eventlog.sqlite.replies import Replies
from managed_agents.eventlog.sqlite.rows import SELECT_EVENTS, event_from, key_for
from managed_agents.eventlog.sqlite.schema import POSITION_BITS
from managed_agents.eventlog.sqlite.state import Entry, State
from managed_agents.eventlog.store import Append

_STAMPABLE = types.CLIENT_TYPES


@dataclass(frozen=True, slots=True)
class Appender:
    """Appends to sessions within the open transaction. `now` and `new_id` are its only sources of time and chance."""

    state: State
    replies: Replies
    now: Callable[[], str]
    new_id: Callable[[], str]

    def append(self, request: Append) -> Appended:
        """Add the events, or return the first result of a repeat. Raises: as `EventLog.append`."""
        entry = self.state.writable(request.session)
        check_fence(entry.session, request.epoch)
        digest = None if request.key is None else _digest(request.events)
        repeated = self._repeated(entry, request, digest)
        if repeated is not None:
            return repeated
        _check_open(entry.session, request)
        at = max(self.now(), entry.session.projection.last_at)
        stamped = self._stamped(entry, request.processed, at)
        projection, events = self._folded(entry.session, request, at)
        if stamped:
            projection = projection._replace(last_at=at)
        return self._write(entry, request, digest, stamped, events, projection, at)

    def _repeated(self, entry: Entry, request: Append, digest: bytes | None) -> Appended | None:
        if request.key is not None:
            return self._repeated_key(entry, request.key, digest)
        if request.epoch is not None and request.events:
            return self._repeated_ids(entry, request.events)
        return None

    def _repeated_key(self, entry: Entry, key: str, digest: bytes | None) -> Appended | None:
        row = self.state.connection.execute(
            "SELECT digest, first, count, reason, message FROM keys WHERE sid = ? AND key = ?", (entry.sid, key)
        ).fetchone()
        if row is None:
            return None
        stored, first, count, reason, message = row
        if reason is not None:
            raise PreviouslyRejectedError(message, reason=reason)
        if stored != digest:
            raise KeyReusedError(f"the key {key!r} was used before with other events; use a new key")
        return self._first_result(entry, first, count)

    def _repeated_ids(self, entry: Entry, events: Sequence[Mapping[str, Any]]) -> Appended | None:
        found = [self._find(event["id"]) for event in events]
        if all(event is None for event in found):
            return None
        first = found[0]
        same = first is not None and all(
            stored is not None and stored.body == _body(event) and stored.session == entry.session.id
            for stored, event in zip(found, events, strict=True)
        )
        if first is None or not same:
            raise KeyReusedError("an event id was used before with another body; make a new id for each event")
        return self._first_result(entry, first.position, len(events))

    def _find(self, event_id: str) -> LoggedEvent | None:
        connection = self.state.connection
        row = connection.execute(f"{SELECT_EVENTS} WHERE id = ?", (event_id,)).fetchone()
        if row is None:
            return None
        owner = connection.execute("SELECT id FROM sessions WHERE sid = ?", (row[0] >> POSITION_BITS,)).get
        return event_from(owner, row)

    def _first_result(self, entry: Entry, first: int, count: int) -> Appended:
        query = f"{SELECT_EVENTS} WHERE key >= ? AND key < ? ORDER BY key"
        bounds = (key_for(entry.sid, first), key_for(entry.sid, first + count))
        events = tuple(event_from(entry.session.id, row) for row in self.state.connection.execute(query, bounds))
        return Appended(head=first + count - 1, at=events[-1].processed_at or "", events=events)

    def _stamped(self, entry: Entry, event_ids: Sequence[str], at: str) -> tuple[LoggedEvent, ...]:
        """Return the client events to stamp; those that have a time keep it."""
        stamped = []
        for event_id in event_ids:
            event = self._find(event_id)
            if event is None or event.session != entry.session.id or event.type not in _STAMPABLE:
                raise RejectedError(f"{event_id} is no client event of this session", field="processed")
            if event.processed_at is None:
                stamped.append(event._replace(processed_at=at))
        return tuple(stamped)

    def _folded(self, session: Session, request: Append, at: str) -> tuple[Projection, tuple[LoggedEvent, ...]]:
        projection, events = session.projection, []
        for index, raw in enumerate(request.events):
            if projection.status == "terminated" and request.admit is None:
                raise _terminated(session)
            event = {"id": raw.get("id") or self.new_id(), **raw}
            on_receipt = request.admit is not None and request.admit(projection, event, index)
            logged = LoggedEvent(
                session=session.id,
                position=projection.head + 1,
                id=event["id"],
                type=event["type"],
                epoch=request.epoch,
                processed_at=at if request.admit is None or on_receipt else None,
                body=_body(event),
                private=_private(request, event, on_receipt),
            )
            folded = Folded(
                position=logged.position,
                at=logged.processed_at or "",
                event=event,
                internal=event.get(types.INTERNAL),
                client=request.admit is not None,
                on_receipt=on_receipt,
            )
            projection = fold(projection, folded)
            events.append(logged)
        return projection, tuple(events)

    def _write(
        self,
        entry: Entry,
        request: Append,
        digest: bytes | None,
        stamped: tuple[LoggedEvent, ...],
        events: tuple[LoggedEvent, ...],
        projection: Projection,
        at: str,
    ) -> Appended:
        connection, session = self.state.connection, entry.session
        connection.executemany(
            "UPDATE events SET processed_at = ?, sum = ? WHERE key = ?",
            [(event.processed_at, rows.checksum(event), key_for(entry.sid, event.position)) for event in stamped],
        )
        connection.executemany(
            "INSERT INTO events VALUES (?,?,?,?,?,?,?,?)", [rows.row_for(entry.sid, e) for e in events]
        )
        if request.key is not None and events:
            connection.execute(
                "INSERT INTO keys (sid, key, digest, first, count) VALUES (?, ?, ?, ?, ?)",
                (entry.sid, request.key, digest, events[0].position, len(events)),
            )
        if request.reply is not None and events:
            self.replies.keep_events(request.reply, entry.sid, events[0].position, len(events))
        changed = Entry(entry.sid, session._replace(projection=projection, released=session.released and not events))
        if changed.session.released != session.released:
            self.state.write_header(changed)
        if events or stamped:
            self.state.change(
                changed, Change(session_id=session.id, session=changed.session, stamped=stamped, events=events)
            )
        return Appended(head=projection.head, at=at, events=events)

    def reject(self, session_id: str, key: str, rejection: Rejection) -> None:
        """Refuse a key for ever, unless it has a result."""
        entry = self.state.writable(session_id)
        self.state.connection.execute(
            "INSERT OR IGNORE INTO keys (sid, key, reason, message) VALUES (?, ?, ?, ?)",
            (entry.sid, key, rejection.reason, rejection.message),
        )


def check_fence(session: Session, epoch: int | None) -> None:
    """Refuse a writer whose epoch is not the current one, or was released. Raises: FencedError (I4)."""
    if epoch is not None and (epoch != session.epoch or session.released):
        state = "released" if epoch == session.epoch else f"at {session.epoch}"
        raise FencedError(f"epoch {epoch} is fenced: the session's epoch is {state}")


def _check_open(session: Session, request: Append) -> None:
    head = session.projection.head
    if request.expected_head is not None and request.expected_head != head:
        raise HeadMismatchError(f"the log is at {head}, not at {request.expected_head}", head=head)
    if session.projection.status == "terminated" and request.processed:
        raise _terminated(session)


def _terminated(session: Session) -> ConflictError:
    return ConflictError(f"session {session.id} is terminated; it takes no more events")


def _digest(events: Sequence[Mapping[str, Any]]) -> bytes:
    return hashlib.sha256(orjson.dumps(list(events), option=orjson.OPT_SORT_KEYS)).digest()


def _body(event: Mapping[str, Any]) -> bytes:
    """Render what is public of an event, `id` and `type` first, without the time that only the log gives."""
    public = {"id": event["id"], "type": event["type"]}
    public.update((key, value) for key, value in event.items() if key not in _NOT_IN_BODY)
    try:
        return orjson.dumps(public)
    except TypeError as error:
        raise RejectedError(f"{event['id']}: cannot be stored: {error}", field="events") from None


_NOT_IN_BODY = frozenset({"id", "type", types.INTERNAL, "processed_at", "position", "sender"})


def _private(request: Append, event: Mapping[str, Any], on_receipt: bool) -> bytes | None:
    private: dict[str, Any] = {}
    if event.get(types.INTERNAL) is not None:
        private[types.INTERNAL] = event[types.INTERNAL]
    if request.admit is not None:
        private["sender"] = request.sender or {}
        if on_receipt:
            private["on_receipt"] = True
    return orjson.dumps(private) if private else None
