"""What the event log stores and hands out, as plain values. Free of any backend's habits (design §5)."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from managed_agents.eventlog.projection import Projection, Status

SLICE_BYTES_MAX = 8 * 1024 * 1024
"""A slice ends once its bodies exceed this many bytes, so that one long read cannot hold up every writer."""

SandboxState = Literal["wanted", "ready", "gone"]


class LoggedEvent(NamedTuple):
    """One record of a log; a tuple, for a slice makes hundreds of them and a frozen dataclass takes ten times as long.

    `body` is the event as one JSON object with `id` and `type`, without `processed_at`; `private` is null or one JSON
    object with `internal`, `sender`, `on_receipt`: no public view shows it. `epoch` is null for events that no harness
    appended. Only `processed_at` ever changes, once, from null (I3).
    """

    session: str
    position: int
    id: str
    type: str
    epoch: int | None
    processed_at: str | None
    body: bytes
    private: bytes | None

    def public(self) -> bytes:
        """Render the event as the API shows it, on one line of JSON; `position` is our addition to it."""
        return b'%b,%b,"position":%d}' % (self.body[:-1], self._processed_at(), self.position)

    def logged(self) -> bytes:
        """Render the event as the internal API shows it: with `internal` and `sender` if any."""
        return self.public() if self.private is None else b"%b,%b" % (self.public()[:-1], self.private[1:])

    def _processed_at(self) -> bytes:
        return (
            b'"processed_at":null' if self.processed_at is None else b'"processed_at":"%b"' % self.processed_at.encode()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """One sandbox Pod that a session asked for. `bind_token` and `binding_secret` leave the log to proxies only."""

    namespace: str
    pod_name: str
    generation: int
    state: SandboxState
    bind_token: str
    binding_secret: str
    pod_uid: str | None = None
    address: str | None = None
    reason: str | None = None
    message: str | None = None

    @property
    def token_sha256(self) -> str:
        """Return what the Pod's arguments carry in place of the one-time token."""
        return hashlib.sha256(self.bind_token.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasedHarness:
    """The warm harness that a session got last, and under which epoch; until it is released."""

    deployment_uid: str
    deployment_name: str
    pod_uid: str
    pod_name: str
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """Why an event was refused for ever under its idempotency key."""

    reason: str
    message: str


class Session(NamedTuple):
    """All that is known of a session but its config and its events; a tuple, for each append makes one.

    `delivered` and `rejected` name the entries of the last spec seen. `damage` tells what is wrong with a record that
    failed its checksum: the session is then read-only (F3).
    """

    id: str
    uid: str
    namespace: str
    name: str
    created_at: str
    epoch: int
    released: bool
    delivered: tuple[str, ...]
    rejected: tuple[Mapping[str, str], ...]
    projection: Projection
    sandbox: Sandbox | None = None
    harness: LeasedHarness | None = None
    workspace: str | None = None
    """The claim that came with a warm sandbox and holds `/workspace` from then on."""
    damage: str | None = None

    @property
    def wanted(self) -> bool:
        """Tell whether the session needs a harness; a damaged one can use none."""
        return self.damage is None and self.projection.wanted

    @property
    def shown_status(self) -> Status:
        """Return the API's status: input that waits for its turn counts as running already (API reference §6.1)."""
        return "running" if self.projection.status == "idle" and self.wanted else self.projection.status


@dataclass(frozen=True, slots=True, kw_only=True)
class HarnessPod:
    """A Pod that the operator vouches for: the only identity of a harness (design §3)."""

    pod_uid: str
    namespace: str
    pod_name: str
    deployment_uid: str
    session_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmHarness:
    """A Pod that the operator vouches for and no session has yet: any of its namespace and harness image may."""

    pod_uid: str
    namespace: str
    image: str
    pod_name: str
    deployment_name: str
    deployment_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Appended:
    """The result of an append; a repeat gets the first one again. `at` is its commit time, `head` where it ended."""

    head: int
    at: str
    events: tuple[LoggedEvent, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What one committed call did to one session, for listeners; calls of a session come in commit order.

    `stamped` are earlier events whose `processed_at` was set. `session` is null when it was deleted, `config`
    is the new config when it differs from the one before.
    """

    session_id: str
    session: Session | None
    stamped: tuple[LoggedEvent, ...] = ()
    events: tuple[LoggedEvent, ...] = ()
    config: "Config | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Which events to read: positions in (`after`, `before`), at most `limit`, ascending unless `backwards`.

    `types` keeps those types only; `processed` bounds `processed_at` by operator (`>`, `>=`, `<`, `<=`), which leaves
    unprocessed events out.
    """

    after: int = 0
    before: int | None = None
    limit: int = 1000
    backwards: bool = False
    types: tuple[str, ...] = ()
    processed: tuple[tuple[Literal[">", ">=", "<", "<="], str], ...] = ()


Config = dict[str, Any]
"""A session's config as docs/internal-api.md defines it."""
