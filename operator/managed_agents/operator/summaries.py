"""The server's view of each session, as its watch and its answers report it: newest revision wins.

Kept as bytes, for an idle session must cost little memory; parsed when a decision needs it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol, Self

import orjson

from managed_agents.contracts.clock import parse_rfc3339

SessionStatus = Literal["idle", "running", "rescheduling", "terminated"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxRecord:
    """The sandbox that the session's harness asked for; the operator sees to a Pod of this name."""

    pod_name: str
    state: str
    token_sha256: str
    pod_uid: str | None = None

    @property
    def is_claimed(self) -> bool:
        """Tell whether the session has been bound to the Pod, which therefore must have existed."""
        return self.state == "ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasedHarness:
    """The warm harness that the server leased to the session; the operator adopts its Deployment."""

    deployment_uid: str
    deployment_name: str
    pod_uid: str
    pod_name: str
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorRecord:
    """The last `session.error` that has not been overcome."""

    reason: str
    message: str
    retry_status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One session's summary (docs/internal-api.md); values that only pass through stay in API form."""

    id: str
    uid: str
    namespace: str
    name: str
    revision: int
    head: int
    epoch: int
    wanted: bool
    needs_pod: bool
    """It is wanted and no warm harness was at hand: the operator makes it one of its own."""
    released: bool
    lease_pod_uid: str | None
    harness: LeasedHarness | None
    status: SessionStatus
    status_since: datetime
    stop_reason: Mapping[str, Any] | None
    requires_action: tuple[Mapping[str, Any], ...]
    usage: Mapping[str, Any] | None
    last_message: Mapping[str, Any] | None
    last_error: ErrorRecord | None
    delivered: frozenset[str]
    rejected: tuple[Mapping[str, Any], ...]
    sandbox: SandboxRecord | None
    workspace: str | None
    """The claim that came with a warm sandbox, and is the session's from then on."""
    collecting: str | None
    """The sandbox Pod whose outputs are still copied, after the release or the end of the session."""

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> Self:
        """Read a summary. Raises: KeyError, ValueError when it is none."""
        return cls(
            id=value["id"],
            uid=value["uid"],
            namespace=value["namespace"],
            name=value["name"],
            revision=value["revision"],
            head=value["head"],
            epoch=value["epoch"],
            wanted=value["wanted"],
            needs_pod=value.get("needs_pod", value["wanted"]),
            released=value["released"],
            lease_pod_uid=value.get("lease_pod_uid"),
            harness=_harness(value.get("harness")),
            status=value["status"],
            status_since=parse_rfc3339(value["status_since"]),
            stop_reason=value.get("stop_reason"),
            requires_action=tuple(value.get("requires_action") or ()),
            usage=value.get("usage"),
            last_message=value.get("last_message"),
            last_error=_error(value.get("last_error")),
            delivered=frozenset(value.get("delivered") or ()),
            rejected=tuple(value.get("rejected") or ()),
            sandbox=_sandbox(value.get("sandbox")),
            workspace=value.get("workspace"),
            collecting=value.get("collecting"),
        )

    @property
    def processed_names(self) -> frozenset[str]:
        """Return the names of `spec.events` that are in the log or refused for ever."""
        return self.delivered | {item["name"] for item in self.rejected}


def _harness(value: Mapping[str, Any] | None) -> LeasedHarness | None:
    return None if value is None else LeasedHarness(**value)


def _error(value: Mapping[str, Any] | None) -> ErrorRecord | None:
    if value is None:
        return None
    return ErrorRecord(
        reason=value.get("reason") or "UnknownError",
        message=value.get("message") or "",
        retry_status=value.get("retry_status") or "",
    )


def _sandbox(value: Mapping[str, Any] | None) -> SandboxRecord | None:
    if value is None:
        return None
    return SandboxRecord(
        pod_name=value["pod_name"],
        state=value["state"],
        token_sha256=value["token_sha256"],
        pod_uid=value.get("pod_uid"),
    )


class Listener(Protocol):
    """Hears what becomes known of sessions, by whatever way it comes."""

    def note(self, summary: Summary, *, is_resync: bool) -> None:
        """Take a session's new summary."""
        ...

    def forget(self, session_id: str) -> None:
        """Take the news that a session is gone."""
        ...


class Summaries:
    """Newest summary of each session id; a full resync replaces everything."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners
        self._known: dict[str, tuple[int, bytes]] = {}

    def put(self, value: Mapping[str, Any], *, force: bool = False) -> bool:
        """Store a summary unless a newer revision is known; `force` after the server itself was restored."""
        known = self._known.get(value["id"])
        if known is not None and known[0] >= value["revision"] and not force:
            return False
        data = orjson.dumps(value)
        if known is not None and known[1] == data:
            return False
        self._known[value["id"]] = (value["revision"], data)
        for listener in self._listeners:
            listener.note(Summary.parse(value), is_resync=force)
        return True

    def get(self, session_id: str) -> Summary | None:
        """Return the newest summary of a session."""
        known = self._known.get(session_id)
        return None if known is None else Summary.parse(orjson.loads(known[1]))

    def remove(self, session_id: str) -> None:
        """Forget a session that the server deleted."""
        self._known.pop(session_id, None)
        for listener in self._listeners:
            listener.forget(session_id)

    def all(self) -> Iterator[Summary]:
        """Yield every known summary."""
        for _, data in list(self._known.values()):
            yield Summary.parse(orjson.loads(data))

    def ids(self) -> set[str]:
        """Return the ids of all known sessions."""
        return set(self._known)
