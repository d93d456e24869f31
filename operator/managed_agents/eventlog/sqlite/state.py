"""Sessions as the current transaction sees them: loaded once, changed in memory, written once a commit."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import apsw
import orjson

from managed_agents.contracts.errors import NotFoundError
from managed_agents.eventlog.errors import DamagedError
from managed_agents.eventlog.projection import Projection, fold, message_of
from managed_agents.eventlog.records import Change, LeasedHarness, LoggedEvent, Sandbox, Session
from managed_agents.eventlog.sqlite import rows
from managed_agents.eventlog.sqlite.rows import SELECT_EVENTS, event_from, folded_from, key_for
from managed_agents.eventlog.sqlite.warm_sandboxes import workspace_of

CACHE_MAX = 2048
"""Sessions kept in memory, a few KB each; others are loaded again when they are needed."""

SELECT_SANDBOXES = (
    "SELECT namespace, pod_name, generation, state, bind_token, binding_secret, pod_uid, address, reason, message "
    "FROM sandboxes"
)
_SANDBOX_FIELDS = (
    "namespace", "pod_name", "generation", "state", "bind_token", "binding_secret", "pod_uid",
    "address", "reason", "message",
)  # fmt: skip

_HARNESS_FIELDS = ("deployment_uid", "deployment_name", "pod_uid", "pod_name", "epoch")


@dataclass(frozen=True, slots=True)
class Entry:
    """A session and its number in the tables."""

    sid: int
    session: Session


class State:
    """The cache of sessions and the changes of the open transaction. Used on its thread only, but for `known`."""

    def __init__(self, connection: apsw.Connection) -> None:
        self.connection = connection
        self._cache: OrderedDict[str, Entry] = OrderedDict()
        self._pending: dict[str, Entry | None] = {}
        self._unwritten: set[str] = set()
        self._changes: list[Change] = []
        self._damage: dict[str, str] = {}

    def known(self, session_id: str) -> Session | None:
        """Return a session as last committed, when it is in memory; on any thread: one look into one dictionary."""
        entry = self._cache.get(session_id)
        return None if entry is None else entry.session

    def entry(self, session_id: str) -> Entry:
        """Return a session. Raises: NotFoundError."""
        if session_id in self._pending:
            entry = self._pending[session_id]
        elif session_id in self._cache:
            self._cache.move_to_end(session_id)
            entry = self._cache[session_id]
        else:
            entry = self._load(session_id)
            if entry is not None:
                self._remember(session_id, entry)
        if entry is None:
            raise NotFoundError(f"session {session_id} not found")
        return entry

    def writable(self, session_id: str) -> Entry:
        """Return a session that may change. Raises: NotFoundError, DamagedError."""
        entry = self.entry(session_id)
        if entry.session.damage is not None:
            raise DamagedError(entry.session.damage)
        return entry

    def change(self, entry: Entry, change: Change) -> None:
        """Put a session's new value into the transaction and tell of it; the projection is written with the commit."""
        known = self._pending.get(change.session_id) or self._cache.get(change.session_id)
        self._pending[change.session_id] = entry
        if known is None or known.session.projection is not entry.session.projection:
            self._unwritten.add(change.session_id)
        self._changes.append(change)

    def forget(self, session_id: str) -> None:
        """Take a session out."""
        self._pending[session_id] = None
        self._unwritten.discard(session_id)
        self._changes.append(Change(session_id=session_id, session=None))

    def mark_damaged(self, session_id: str, message: str) -> None:
        """Make a session read-only for as long as this process lives; a restart finds the damage again."""
        if session_id not in self._damage:
            self._damage[session_id] = message
            entry = self._cache.pop(session_id, None)
            if entry is not None:
                self._remember(session_id, Entry(entry.sid, entry.session._replace(damage=message)))

    def write_header(self, entry: Entry) -> None:
        """Write what is not folded from events: epoch, release and spec results."""
        session = entry.session
        spec = orjson.dumps({"delivered": session.delivered, "rejected": session.rejected})
        self.connection.execute(
            "UPDATE sessions SET epoch = ?, released = ?, spec = ? WHERE sid = ?",
            (session.epoch, session.released, spec, entry.sid),
        )

    def flush(self) -> None:
        """Write each changed projection once, however many appends the transaction holds."""
        written = [self._pending[session_id] for session_id in self._unwritten]
        self.connection.executemany(
            "INSERT OR REPLACE INTO projections VALUES (?, ?, ?, ?, ?)",
            [rows.projection_row(entry.sid, entry.session.projection) for entry in written if entry is not None],
        )
        self.connection.executemany(
            "UPDATE session_index SET status = ? WHERE sid = ?",
            [(entry.session.shown_status, entry.sid) for entry in written if entry and self._is_status_new(entry)],
        )

    def _is_status_new(self, entry: Entry) -> bool:
        known = self._cache.get(entry.session.id)
        return known is None or known.session.shown_status != entry.session.shown_status

    def committed(self) -> list[Change]:
        """Adopt the transaction's sessions; return its changes in order."""
        for session_id, entry in self._pending.items():
            if entry is None:
                self._cache.pop(session_id, None)
            else:
                self._remember(session_id, entry)
        changes = self._changes
        self._reset()
        return changes

    def rolled_back(self) -> None:
        """Drop the transaction's sessions."""
        self._reset()

    def _reset(self) -> None:
        self._pending, self._unwritten, self._changes = {}, set(), []

    def _remember(self, session_id: str, entry: Entry) -> None:
        self._cache[session_id] = entry
        self._cache.move_to_end(session_id)
        if len(self._cache) > CACHE_MAX:
            self._cache.popitem(last=False)

    def _load(self, session_id: str) -> Entry | None:
        row = self.connection.execute(
            "SELECT sid, uid, namespace, name, created_at, epoch, released, spec FROM sessions WHERE id = ?",
            (session_id,),
        ).fetchone()
        if row is None:
            return None
        sid, uid, namespace, name, created_at, epoch, released, spec = row
        results = orjson.loads(spec)
        projection, damage = self._projection(sid, session_id, created_at)
        session = Session(
            id=session_id,
            uid=uid,
            namespace=namespace,
            name=name,
            created_at=created_at,
            epoch=epoch,
            released=bool(released),
            delivered=tuple(results["delivered"]),
            rejected=tuple(results["rejected"]),
            projection=projection,
            sandbox=self._sandbox(sid),
            harness=self._harness(sid),
            workspace=workspace_of(self.connection, sid),
            damage=self._damage.get(session_id) or damage,
        )
        return Entry(sid, session)

    def _sandbox(self, sid: int) -> Sandbox | None:
        row = self.connection.execute(f"{SELECT_SANDBOXES} WHERE sid = ? AND state != 'gone'", (sid,)).fetchone()
        return None if row is None else sandbox_from(row)

    def _harness(self, sid: int) -> LeasedHarness | None:
        row = self.connection.execute(
            f"SELECT {', '.join(_HARNESS_FIELDS)} FROM leased_harnesses WHERE sid = ?",  # noqa: S608 - constant names
            (sid,),
        ).fetchone()
        return None if row is None else LeasedHarness(**dict(zip(_HARNESS_FIELDS, row, strict=True)))

    def _projection(self, sid: int, session_id: str, created_at: str) -> tuple[Projection, str | None]:
        """Return the stored projection when it agrees with the log's verified last record, else fold it anew."""
        stored = rows.projection_from(
            self.connection.execute(
                "SELECT head, version, projection, sum FROM projections WHERE sid = ?", (sid,)
            ).fetchone()
        )
        try:
            last = self._last(sid, session_id)
            if stored is not None and stored.head == last:
                return stored._replace(last_message=self._last_message(sid, session_id, stored)), None
            if stored is not None and stored.head > last:
                raise DamagedError(
                    f"session {session_id}: the log ends at position {last}, {stored.head} were acknowledged"
                )
            return self.refold(sid, session_id, created_at), None
        except (DamagedError, apsw.CorruptError) as error:
            if stored is None:
                return Projection(status_since=created_at, last_at=created_at), str(error)
            return stored._replace(last_message=None), str(error)

    def _last_message(self, sid: int, session_id: str, stored: Projection) -> Mapping[str, Any] | None:
        """Return the last message of a stored projection. Raises: DamagedError when its record fails or is missing."""
        if stored.last_message is None:
            return None
        position: int = stored.last_message["position"]
        row = self.connection.execute(f"{SELECT_EVENTS} WHERE key = ?", (key_for(sid, position),)).fetchone()
        if row is None:
            raise DamagedError(f"session {session_id}: the record at position {position} is missing")
        return message_of(folded_from(event_from(session_id, row)))

    def _last(self, sid: int, session_id: str) -> int:
        query = f"{SELECT_EVENTS} WHERE key > ? AND key < ? ORDER BY key DESC LIMIT 1"
        row = self.connection.execute(query, (key_for(sid, 0), key_for(sid + 1, 0))).fetchone()
        return 0 if row is None else event_from(session_id, row).position

    def refold(self, sid: int, session_id: str, created_at: str) -> Projection:
        """Fold a session's whole log. Raises: DamagedError at a record that fails or is missing."""
        query = f"{SELECT_EVENTS} WHERE key > ? AND key < ? ORDER BY key"
        cursor = self.connection.execute(query, (key_for(sid, 0), key_for(sid + 1, 0)))
        projection = Projection(status_since=created_at, last_at=created_at)
        for event in contiguous(session_id, 0, (event_from(session_id, row) for row in cursor)):
            projection = fold(projection, folded_from(event))
        return projection


def contiguous(session_id: str, after: int, events: Iterable[LoggedEvent]) -> Iterable[LoggedEvent]:
    """Pass events on while positions have no gap. Raises: DamagedError at a gap: positions are 1..n (I2)."""
    for expected, event in enumerate(events, after + 1):
        if event.position != expected:
            raise DamagedError(f"session {session_id}: the record at position {expected} is missing")
        yield event


def sandbox_from(row: tuple[Any, ...]) -> Sandbox:
    """Return the sandbox of a row of `SELECT_SANDBOXES`."""
    return Sandbox(**dict(zip(_SANDBOX_FIELDS, row, strict=True)))
