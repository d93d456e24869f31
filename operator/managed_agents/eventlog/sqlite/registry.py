"""Sessions as rows: made, configured, fenced, released, deleted."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import orjson

from managed_agents.contracts.errors import ConflictError, FencedError, NotFoundError
from managed_agents.contracts.events import types
from managed_agents.eventlog.errors import InputWaitingError
from managed_agents.eventlog.projection import Projection
from managed_agents.eventlog.records import Change, Config, Rejection, Session
from managed_agents.eventlog.sqlite import index
from managed_agents.eventlog.sqlite.appending import Appender
from managed_agents.eventlog.sqlite.pods import HarnessPods
from managed_agents.eventlog.sqlite.rows import key_for
from managed_agents.eventlog.sqlite.sandboxes import Sandboxes
from managed_agents.eventlog.sqlite.state import Entry, State
from managed_agents.eventlog.store import Append, Describe

_NO_SPEC = b'{"delivered":[],"rejected":[]}'
_BY_SESSION = (
    "configs",
    "projections",
    "keys",
    "sandboxes",
    "workspaces",
    "leased_harnesses",
    "deployments",
    "session_index",
    "turns",
    "sessions",
)


@dataclass(frozen=True, slots=True)
class Registry:
    """The life of sessions within the open transaction."""

    state: State
    appender: Appender
    sandboxes: Sandboxes
    pods: HarnessPods
    now: Callable[[], str]

    def put(self, config: Config, describe: Describe) -> Session:
        """Create or configure a session. Raises: ConflictError when its id was deleted before."""
        try:
            entry = self.state.writable(config["id"])
        except NotFoundError:
            return self._create(config)
        previous = self.config(config["id"])
        config = _kept(previous, config)
        if config == previous:
            return entry.session
        events = () if entry.session.projection.status == "terminated" else tuple(describe(previous, config))
        self.state.connection.execute("UPDATE configs SET config = ? WHERE sid = ?", (orjson.dumps(config), entry.sid))
        if _content(config) == _content(previous):
            return entry.session
        index.reconfigure(self.state.connection, entry, config, self.now())
        self.state.change(entry, Change(session_id=config["id"], session=entry.session, config=config))
        if events:
            self.appender.append(Append(session=config["id"], events=events))
        return self.state.entry(config["id"]).session

    def _create(self, config: Config) -> Session:
        connection, session_id = self.state.connection, config["id"]
        if connection.execute("SELECT 1 FROM tombstones WHERE id = ?", (session_id,)).fetchone():
            raise ConflictError(f"session {session_id} was deleted; its id is never used again")
        now = self.now()
        session = Session(
            id=session_id,
            uid=config["uid"],
            namespace=config["namespace"],
            name=config["name"],
            created_at=now,
            epoch=0,
            released=False,
            delivered=(),
            rejected=(),
            projection=Projection(status_since=now, last_at=now),
        )
        connection.execute(
            "INSERT INTO sessions (id, uid, namespace, name, created_at, epoch, released, spec) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (session_id, session.uid, session.namespace, session.name, now, 0, False, _NO_SPEC),
        )
        entry = Entry(connection.last_insert_rowid(), session)
        connection.execute("INSERT INTO configs VALUES (?, ?)", (entry.sid, orjson.dumps(config)))
        index.add(connection, entry, config)
        self.state.change(entry, Change(session_id=session_id, session=session, config=config))
        return session

    def config(self, session_id: str) -> Config:
        """Return a session's config."""
        entry = self.state.entry(session_id)
        config: Config = orjson.loads(
            self.state.connection.execute("SELECT config FROM configs WHERE sid = ?", (entry.sid,)).get
        )
        return config

    def archive(self, session_id: str) -> Session:
        """End a session for good; the first time counts."""
        entry = self.state.writable(session_id)
        if entry.session.projection.status != "terminated":
            self.appender.append(Append(session=session_id, events=[{"type": types.STATUS_TERMINATED}]))
        index.archive(self.state.connection, entry, self.now())
        return self.state.entry(session_id).session

    def note_spec(self, session_id: str, delivered: Sequence[str], rejected: Sequence[Mapping[str, str]]) -> Session:
        """Store the results of the last spec, if they differ."""
        entry = self.state.writable(session_id)
        session = entry.session._replace(delivered=tuple(delivered), rejected=tuple(dict(item) for item in rejected))
        return entry.session if session == entry.session else self._store(entry, session)

    def keys(self, session_id: str, keys: Sequence[str]) -> dict[str, Rejection | None]:
        """Return the results under those keys."""
        sid, found = self.state.entry(session_id).sid, {}
        for key in keys:
            row = self.state.connection.execute(
                "SELECT reason, message FROM keys WHERE sid = ? AND key = ?", (sid, key)
            ).fetchone()
            if row is not None:
                found[key] = None if row[0] is None else Rejection(reason=row[0], message=row[1])
        return found

    def take_epoch(self, session_id: str) -> Session:
        """Raise the epoch."""
        entry = self.state.writable(session_id)
        return self._store(entry, entry.session._replace(epoch=entry.session.epoch + 1, released=False))

    def release(self, session_id: str, epoch: int) -> Session:
        """Fence an epoch without a successor. Raises: FencedError, InputWaitingError."""
        entry = self.state.entry(session_id)
        session = entry.session
        if epoch != session.epoch:
            raise FencedError(f"epoch {epoch} cannot be released: the session's epoch is {session.epoch}")
        if session.wanted:
            raise InputWaitingError(f"session {session_id} cannot be released: input waits or a turn is open")
        self.pods.unregister_all(entry.sid)
        if not session.released:  # told first, while it still names the sandbox that is given up with it
            self.state.connection.execute("DELETE FROM leased_harnesses WHERE sid = ?", (entry.sid,))
            self._store(entry, session._replace(released=True, harness=None))
            entry = self.state.entry(session_id)
        if session.sandbox is not None:
            self.sandboxes.retire(entry, reason="Released", message="the session's harness was released")
        return self.state.entry(session_id).session

    def _store(self, entry: Entry, session: Session) -> Session:
        changed = Entry(entry.sid, session)
        self.state.write_header(changed)
        self.state.change(changed, Change(session_id=session.id, session=session))
        return session

    def delete(self, session_id: str) -> bool:
        """Remove all rows of a session and leave a tombstone; a damaged one can go too."""
        connection = self.state.connection
        try:
            entry = self.state.entry(session_id)
        except NotFoundError:
            connection.execute("INSERT OR IGNORE INTO tombstones VALUES (?, ?)", (session_id, self.now()))
            return False
        connection.execute(
            "DELETE FROM events WHERE key > ? AND key < ?", (key_for(entry.sid, 0), key_for(entry.sid + 1, 0))
        )
        self.pods.unregister_all(entry.sid)
        for table in _BY_SESSION:
            connection.execute(f"DELETE FROM {table} WHERE sid = ?", (entry.sid,))  # noqa: S608 - constant names
        connection.execute("INSERT OR IGNORE INTO tombstones VALUES (?, ?)", (session_id, self.now()))
        self.state.forget(session_id)
        return True


def _kept(previous: Config, config: Config) -> Config:
    """Return the config to store: an older view of the object changes nothing, and a creation time is for ever."""
    if config.get("generation", 0) < previous.get("generation", 0):
        return previous
    return {**config, "created_at": previous["created_at"]} if "created_at" in previous else config


def _content(config: Config) -> Config:
    return {key: value for key, value in config.items() if key != "generation"}
