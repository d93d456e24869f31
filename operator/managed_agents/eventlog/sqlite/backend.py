"""The event log on SQLite, as the server uses it: every call a job for the database thread."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import apsw
import structlog

from managed_agents.contracts.clock import Clock, SystemClock, rfc3339
from managed_agents.contracts.errors import ManagedAgentsError
from managed_agents.contracts.ids import new_event_id
from managed_agents.contracts.turn_timing import TurnTiming
from managed_agents.eventlog.errors import DamagedError
from managed_agents.eventlog.intents import Identity, Intent
from managed_agents.eventlog.queries import SessionQuery, SessionRecord
from managed_agents.eventlog.records import (
    Appended,
    Change,
    Config,
    HarnessPod,
    LoggedEvent,
    Rejection,
    Sandbox,
    Session,
    Slice,
    WarmHarness,
)
from managed_agents.eventlog.replies import Reply, ReplyKey
from managed_agents.eventlog.sqlite import index, reading
from managed_agents.eventlog.sqlite.appending import Appender
from managed_agents.eventlog.sqlite.checkpoints import Checkpoints
from managed_agents.eventlog.sqlite.intents import Intents
from managed_agents.eventlog.sqlite.pods import HarnessPods
from managed_agents.eventlog.sqlite.registry import Registry
from managed_agents.eventlog.sqlite.replies import Replies
from managed_agents.eventlog.sqlite.sandboxes import Sandboxes
from managed_agents.eventlog.sqlite.schema import open_database
from managed_agents.eventlog.sqlite.state import State
from managed_agents.eventlog.sqlite.turns import Turns, newest
from managed_agents.eventlog.sqlite.warm_harnesses import WarmHarnesses
from managed_agents.eventlog.sqlite.warm_sandboxes import SqliteWarmSandboxes, WarmRows
from managed_agents.eventlog.sqlite.worker import Fatal, Worker
from managed_agents.eventlog.store import Admit, Append, Describe, Listener
from managed_agents.eventlog.warm_sandboxes import PoolClaim, WarmSandboxes

T = TypeVar("T")

FILE_NAME = "events.sqlite3"

_log = structlog.get_logger(__name__)


def open_event_log(directory: Path | None, *, clock: Clock | None = None, on_fatal: Fatal) -> "SqliteEventLog":
    """Open the log in a directory, made when absent; null keeps it in memory. Call it on the event loop.

    `on_fatal` is called, on the database thread, when a write failed such that only a new process may go on (F4).
    Raises: RuntimeError, apsw.Error when it cannot be opened: too old a SQLite, a newer schema, another server on it.
    """
    if directory is not None:
        directory.mkdir(parents=True, exist_ok=True)
    connection = open_database(None if directory is None else directory / FILE_NAME)
    return SqliteEventLog(connection, clock or SystemClock(), on_fatal)


class SqliteEventLog:
    """`EventLog` on one SQLite connection. Made by `open_event_log`."""

    def __init__(self, connection: apsw.Connection, clock: Clock, on_fatal: Fatal) -> None:
        def now() -> str:
            return rfc3339(clock.now())

        self._state = State(connection)
        self._replies = Replies(self._state)
        self._appender = Appender(self._state, self._replies, now, new_event_id)
        warm = WarmRows(connection, _new_secret)
        self._sandboxes = Sandboxes(self._state, warm, _new_secret)
        self._pods = HarnessPods(self._state)
        self._registry = Registry(self._state, self._appender, self._sandboxes, self._pods, now)
        self._warm_harnesses = WarmHarnesses(self._state, self._pods)
        self._intents = Intents(self._state, self._appender, self._registry, self._replies)
        index.backfill(self._state)
        self._listeners: list[Listener] = []
        self._boot: int = connection.execute("SELECT value FROM meta WHERE name = 'boot'").get
        self._secret: bytes = connection.execute("SELECT value FROM meta WHERE name = 'secret'").get
        self._turns = Turns(self._state)
        self._worker = Worker(
            connection, self._turns, deliver=self._deliver, on_fatal=on_fatal, tidy=Checkpoints(connection).run_if_due
        )
        self._warm = SqliteWarmSandboxes(warm, self._worker)
        self._worker.start()

    @property
    def boot(self) -> int:
        """Return how often this log was opened."""
        return self._boot

    @property
    def secret(self) -> bytes:
        """Return 32 random bytes that live as long as the log."""
        return self._secret

    @property
    def healthy(self) -> bool:
        """Tell whether the log can still store."""
        return self._worker.failure is None

    @property
    def warm(self) -> WarmSandboxes:
        """Return the pools of blank sandboxes."""
        return self._warm

    def listen(self, listener: Listener) -> None:
        """Add a listener for every change."""
        self._listeners.append(listener)

    async def close(self) -> None:
        """Answer what waits, checkpoint and close."""
        if self._turns.waiting():
            with suppress(ManagedAgentsError):
                await self._worker.write(lambda: None)
        await self._worker.stop()

    async def put(self, config: Config, describe: Describe) -> Session:
        """Create or configure a session."""
        return await self._worker.write(lambda: self._registry.put(config, describe), config["namespace"])

    async def archive(self, session: str) -> Session:
        """End a session for good."""
        return await self._worker.write(lambda: self._registry.archive(session), self._lane(session))

    async def record(self, session: str) -> SessionRecord:
        """Return a session with its config and its times."""
        return await self._worker.read(lambda: index.record(self._state, session), self._lane(session))

    async def find(self, query: SessionQuery) -> Sequence[SessionRecord]:
        """Return the sessions that a list wants."""
        return await self._worker.read(lambda: index.find(self._state, query), query.namespace)

    async def add_intent(self, intent: Intent) -> None:
        """Make durable that a session is about to be created."""
        await self._worker.write(lambda: self._intents.add(intent), intent.namespace)

    async def intents(self) -> Sequence[Intent]:
        """Return the intents that are left."""
        return await self._worker.read(self._intents.all)

    async def intent(self, key: str) -> Intent | None:
        """Return one intent."""
        return await self._worker.read(lambda: self._intents.get(key))

    async def bind_intent(
        self, key: str, identity: Identity, changes: Config, admit: Callable[[str, Intent], Admit]
    ) -> Session | None:
        """Make an intent's session."""
        return await self._worker.write(lambda: self._intents.bind(key, identity, changes, admit))

    async def drop_intent(self, key: str) -> None:
        """Forget an intent."""
        await self._worker.write(lambda: self._intents.drop(key))

    async def abandon_intent(self, key: str) -> None:
        """Keep an intent as a reason to remove its object."""
        await self._worker.write(lambda: self._intents.abandon(key))

    async def note_spec(self, session: str, delivered: Sequence[str], rejected: Sequence[Mapping[str, str]]) -> Session:
        """Store the results of the last spec."""
        return await self._worker.write(
            lambda: self._registry.note_spec(session, delivered, rejected), self._lane(session)
        )

    async def session(self, session: str) -> Session:
        """Return what is known of a session."""
        self._worker.require_open()
        known = self._state.known(session)
        if known is not None:  # which waits for no commit of others
            return known
        return await self._worker.read(lambda: self._state.entry(session).session, session)

    async def config(self, session: str) -> Config:
        """Return a session's config."""
        return await self._worker.read(lambda: self._registry.config(session), self._lane(session))

    async def sessions(self) -> Sequence[str]:
        """Return the ids of all sessions."""
        return await self._worker.read(
            lambda: [row[0] for row in self._state.connection.execute("SELECT id FROM sessions ORDER BY sid")]
        )

    async def delete(self, session: str) -> bool:
        """Remove a session for ever."""
        return await self._worker.write(lambda: self._registry.delete(session), self._lane(session))

    async def append(self, append: Append) -> Appended:
        """Add events at the end, all or none."""
        return await self._worker.write(lambda: self._appender.append(append), self._lane(append.session))

    async def reject(self, session: str, key: str, rejection: Rejection) -> None:
        """Refuse a key for ever."""
        await self._worker.write(lambda: self._appender.reject(session, key, rejection), self._lane(session))

    async def keys(self, session: str, keys: Sequence[str]) -> Mapping[str, Rejection | None]:
        """Return which keys have a result."""
        return await self._worker.read(lambda: self._registry.keys(session, keys), self._lane(session))

    async def read(self, session: str, wanted: Slice) -> Sequence[LoggedEvent]:
        """Return a slice of the log."""
        try:
            return await self._worker.read(lambda: reading.read(self._state, session, wanted), self._lane(session))
        except DamagedError as error:
            _log.error("record_damaged", session=session, message=error.message)
            self._deliver([Change(session_id=session, session=await self.session(session))])
            raise

    async def position(self, session: str, event_id: str) -> int | None:
        """Return where an event stands."""
        return await self._worker.read(lambda: reading.position(self._state, session, event_id), self._lane(session))

    async def take_epoch(self, session: str) -> Session:
        """Raise the epoch."""
        return await self._worker.write(lambda: self._registry.take_epoch(session), self._lane(session))

    async def release(self, session: str, epoch: int) -> Session:
        """Fence an epoch without a successor."""
        return await self._worker.write(lambda: self._registry.release(session, epoch), self._lane(session))

    async def register(self, pod: HarnessPod) -> None:
        """Vouch for a Pod."""
        await self._worker.write(lambda: self._pods.register(pod), self._lane(pod.session_id))

    async def unregister(self, pod_uid: str) -> None:
        """Forget a Pod."""
        await self._worker.write(lambda: self._pods.unregister(pod_uid))

    async def harness_pod(self, pod_uid: str) -> HarnessPod | None:
        """Return a registered Pod."""
        self._worker.require_open()
        return self._pods.known(pod_uid) or await self._worker.read(lambda: self._pods.get(pod_uid))

    async def offer_harness(self, warm: WarmHarness) -> None:
        """Vouch for a Pod that no session has."""
        await self._worker.write(lambda: self._warm_harnesses.offer(warm))

    async def withdraw_harness(self, deployment_uid: str, pod_uid: str | None) -> Sequence[str]:
        """Take back a Deployment's Pods, or one of them."""
        return await self._worker.write(lambda: self._warm_harnesses.withdraw(deployment_uid, pod_uid))

    async def warm_harness(self, pod_uid: str) -> WarmHarness | None:
        """Return a Pod that is offered."""
        return await self._worker.read(lambda: self._warm_harnesses.get(pod_uid))

    async def lease_harness(self, session: str, pod_uid: str) -> Session | None:
        """Give an offered Pod to a session."""
        return await self._worker.write(lambda: self._warm_harnesses.lease(session, pod_uid), self._lane(session))

    async def claim_sandbox(self, session: str, epoch: int, pool: PoolClaim | None = None) -> Sandbox:
        """Return the session's sandbox, of the pool or asking for one where there is none."""
        return await self._worker.write(lambda: self._sandboxes.claim(session, epoch, pool), self._lane(session))

    async def report_sandbox(self, session: str, report: Sandbox) -> Sandbox:
        """Store what the operator saw of a sandbox."""
        return await self._worker.write(lambda: self._sandboxes.report(session, report), self._lane(session))

    async def sandbox(self, session: str, pod_name: str) -> Sandbox:
        """Return a sandbox of the session."""
        return await self._worker.read(lambda: self._sandboxes.get(session, pod_name), self._lane(session))

    async def keep_reply(self, key: ReplyKey, status: int, body: bytes) -> None:
        """Keep an answer."""
        await self._worker.write(lambda: self._replies.keep(key, status, body))

    async def reply(self, key: bytes, now: float) -> Reply | None:
        """Return a kept answer."""
        return await self._worker.read(lambda: self._replies.get(key, now))

    async def drop_replies(self, keys: Sequence[bytes], now: float) -> None:
        """Forget answers."""
        await self._worker.write(lambda: self._replies.drop(keys, now))

    def note_turn(self, timing: TurnTiming) -> None:
        """Keep the record of a turn, written with the next commit."""
        self._turns.note(timing)

    async def turns(self, session: str, limit: int) -> Sequence[TurnTiming]:
        """Return the newest records of turns."""
        waiting = self._turns.waiting(session)  # before the rows: what is written meanwhile is in both, not in neither
        return newest(
            waiting, await self._worker.read(lambda: self._turns.stored(session, limit), self._lane(session)), limit
        )

    def _lane(self, session: str) -> str:
        """Return the lane of a session's calls: its namespace, so that tenants take turns and not their sessions."""
        known = self._state.known(session)
        return session if known is None else known.namespace

    def _deliver(self, changes: Sequence[Change]) -> None:
        for change in changes:
            for listener in self._listeners:
                listener(change)


def _new_secret() -> str:
    return secrets.token_urlsafe(32)
