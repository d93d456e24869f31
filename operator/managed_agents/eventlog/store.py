"""The event log's interface. Everything else of the server stands on this, none of it on a backend (design §5)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from managed_agents.contracts.turn_timing import TurnTiming
from managed_agents.eventlog.intents import Identity, Intent
from managed_agents.eventlog.projection import Projection
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
from managed_agents.eventlog.warm_sandboxes import PoolClaim, WarmSandboxes

Listener = Callable[[Change], None]
"""Called on the event loop after a commit, in commit order, before the caller of the change hears of it."""

Admit = Callable[[Projection, Mapping[str, Any], int], bool]
"""Decides on one client event, knowing all before it, and its index in the request. Pure: it runs inside the commit.

True: it is processed on receipt. Raises: RejectedError, and then nothing of the append happens.
"""

Describe = Callable[[Config, Config], Sequence[Mapping[str, Any]]]
"""Names the events that a change of config leads to, from the old and the new one. Pure: it runs inside the commit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """One atomic addition to a session's log.

    With an `epoch` the events are a harness's: they carry their ids, are processed as they are stored, may carry an
    `internal` object, and a repeat of the same ids returns the first result. With `admit` they are a client's: the log
    gives the ids, `sender` says who sent them, and `key` makes a repeat return the first result. With neither, they are
    the server's own. `processed` stamps earlier client events. `expected_head` refuses when the log is elsewhere.
    `reply` keeps in the same commit which events a request led to, so that its repeat is known also after a crash.
    """

    session: str
    events: Sequence[Mapping[str, Any]]
    key: str | None = None
    epoch: int | None = None
    expected_head: int | None = None
    processed: Sequence[str] = ()
    admit: Admit | None = None
    sender: Mapping[str, Any] | None = None
    reply: ReplyKey | None = None


class EventLog(Protocol):
    """An append-only log per session, and what must change in one commit with it.

    Every call that changes something returns after it is durable. Raises, besides what a call names: NotFoundError for
    a session that is not there, DamagedError for one that is read-only, UnavailableError when nothing can be stored.
    """

    @property
    def boot(self) -> int:
        """Return how often this log was opened: a number that grows across restarts."""
        ...

    @property
    def secret(self) -> bytes:
        """Return 32 random bytes that live as long as the log, to sign what clients carry around."""
        ...

    @property
    def healthy(self) -> bool:
        """Tell whether the log can still store."""
        ...

    @property
    def warm(self) -> WarmSandboxes:
        """Return the pools of blank sandboxes."""
        ...

    def listen(self, listener: Listener) -> None:
        """Add a listener for every change of every session."""
        ...

    async def close(self) -> None:
        """Make all durable and stop; calls that wait are answered first."""
        ...

    async def put(self, config: Config, describe: Describe) -> Session:
        """Create the session of that config, or replace its config. Raises: ConflictError when its id was deleted."""
        ...

    async def archive(self, session: str) -> Session:
        """End a session and note when; what ended before stays as it is."""
        ...

    async def record(self, session: str) -> SessionRecord:
        """Return a session with its config and its times."""
        ...

    async def find(self, query: SessionQuery) -> Sequence[SessionRecord]:
        """Return the sessions that a list wants, in its order."""
        ...

    async def add_intent(self, intent: Intent) -> None:
        """Make durable that a session is about to be created."""
        ...

    async def intents(self) -> Sequence[Intent]:
        """Return the intents that are neither bound nor dropped, oldest first."""
        ...

    async def intent(self, key: str) -> Intent | None:
        """Return an intent that is neither bound nor dropped."""
        ...

    async def bind_intent(
        self, key: str, identity: Identity, changes: Config, admit: Callable[[str, Intent], Admit]
    ) -> Session | None:
        """Make an intent's session with its events in one commit, and drop the intent; null where there is none.

        `changes` are the parts of the config that only the object's creation could tell, its identity apart.

        Raises: ConflictError for an abandoned intent, or a session that was deleted meanwhile.
        """
        ...

    async def drop_intent(self, key: str) -> None:
        """Forget an intent; also one that is not there."""
        ...

    async def abandon_intent(self, key: str) -> None:
        """Keep an intent only as a reason to remove an object that may still appear under its key."""
        ...

    async def note_spec(self, session: str, delivered: Sequence[str], rejected: Sequence[Mapping[str, str]]) -> Session:
        """Store which entries of the last spec reached the log and which never will."""
        ...

    async def session(self, session: str) -> Session:
        """Return what is known of a session."""
        ...

    async def config(self, session: str) -> Config:
        """Return a session's config."""
        ...

    async def sessions(self) -> Sequence[str]:
        """Return the ids of all sessions."""
        ...

    async def delete(self, session: str) -> bool:
        """Remove a session and all its rows; its id is never used again. False when there was none."""
        ...

    async def append(self, append: Append) -> Appended:
        """Add events at the end, all or none.

        Raises: FencedError, HeadMismatchError, KeyReusedError, PreviouslyRejectedError, RejectedError; ConflictError
        for a session that is terminated.
        """
        ...

    async def reject(self, session: str, key: str, rejection: Rejection) -> None:
        """Refuse a key for ever; an append under it raises PreviouslyRejectedError."""
        ...

    async def keys(self, session: str, keys: Sequence[str]) -> Mapping[str, Rejection | None]:
        """Return the keys among those that have a result: null for appended ones."""
        ...

    async def read(self, session: str, wanted: Slice) -> Sequence[LoggedEvent]:
        """Return a slice of the log. It ends early, but never empty, when its bytes exceed a bound."""
        ...

    async def position(self, session: str, event_id: str) -> int | None:
        """Return where an event stands, or null when this session has none of that id."""
        ...

    async def take_epoch(self, session: str) -> Session:
        """Raise the epoch by one: every writer before is fenced."""
        ...

    async def release(self, session: str, epoch: int) -> Session:
        """Fence that epoch without a successor, forget the harness Pods and retire the sandbox.

        A repeat is fine. Raises: FencedError for an older epoch, InputWaitingError while the session is wanted.
        """
        ...

    async def register(self, pod: HarnessPod) -> None:
        """Vouch for a Pod. Raises: ConflictError when its Deployment belongs to another session."""
        ...

    async def unregister(self, pod_uid: str) -> None:
        """Forget a Pod; also when it is not known."""
        ...

    async def harness_pod(self, pod_uid: str) -> HarnessPod | None:
        """Return a registered Pod."""
        ...

    async def offer_harness(self, warm: WarmHarness) -> None:
        """Vouch for a Pod that no session has. Raises: ConflictError when a session has, or had, its Deployment."""
        ...

    async def withdraw_harness(self, deployment_uid: str, pod_uid: str | None) -> Sequence[str]:
        """Take back a Deployment's Pods, or one of them, and return their UIDs; also when none is offered.

        Raises: ConflictError when a session has it.
        """
        ...

    async def warm_harness(self, pod_uid: str) -> WarmHarness | None:
        """Return a Pod that is offered to any session."""
        ...

    async def lease_harness(self, session: str, pod_uid: str) -> Session | None:
        """Give an offered Pod to a session, for good, under the next epoch; null when it is no longer offered.

        Raises: ConflictError for a session that wants none, or of another namespace.
        """
        ...

    async def claim_sandbox(self, session: str, epoch: int, pool: PoolClaim | None = None) -> Sandbox:
        """Return the session's sandbox; where there is none a free one of the pool, ready, or else ask for one.

        Raises: FencedError.
        """
        ...

    async def report_sandbox(self, session: str, report: Sandbox) -> Sandbox:
        """Store what the operator saw of a sandbox; what is gone stays gone. Raises: NotFoundError."""
        ...

    async def sandbox(self, session: str, pod_name: str) -> Sandbox:
        """Return a sandbox of the session, also one that is gone. Raises: NotFoundError."""
        ...

    async def keep_reply(self, key: ReplyKey, status: int, body: bytes) -> None:
        """Keep the answer to a request, in place of an older one."""
        ...

    async def reply(self, key: bytes, now: float) -> Reply | None:
        """Return the answer kept under a key, unless it ended before `now`, in seconds since 1970."""
        ...

    async def drop_replies(self, keys: Sequence[bytes], now: float) -> None:
        """Forget the answers under those keys and all that ended before `now`."""
        ...

    def note_turn(self, timing: TurnTiming) -> None:
        """Keep the record of a turn without waiting: it becomes durable with any later commit, and a crash loses it."""
        ...

    async def turns(self, session: str, limit: int) -> Sequence[TurnTiming]:
        """Return the newest records of a session's turns, newest first; only the last ones are kept."""
        ...
