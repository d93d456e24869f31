"""Blank sandboxes that wait for a session: what the log keeps of an Environment's pool, and its calls (design §7).

A warm sandbox has one record until a session claims it or the pool retires it, each in one commit: so no Pod serves
two sessions, and none is deleted under one. The Pod's claim, where it has one, has the Pod's name.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

WarmState = Literal["wanted", "ready", "free"]
"""`wanted`: its Pod is to be made, or starts. `ready`: it runs, its packages are on their way. `free`: claimable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxPool:
    """What sandboxes of an Environment are like now.

    `environment` is the API's id. `pool` is a hash over all that shapes a Pod; `generation` the Environment's that it
    was made from: a claim that knows of another one gets nothing from the pool.
    """

    namespace: str
    environment: str
    generation: int
    pool: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmSandbox:
    """One Pod of a pool. `bind_token` leaves the log to the Pod itself, and with a claim to a proxy."""

    namespace: str
    pod_name: str
    environment: str
    pool: str
    state: WarmState
    bind_token: str
    has_claim: bool
    """A PersistentVolumeClaim of its name holds its workspace."""
    packages: str | None
    """The hash of the packages that must be there before it is free."""
    pod_uid: str | None = None
    address: str | None = None

    @property
    def token_sha256(self) -> str:
        """Return what the Pod's arguments carry in place of the one-time token."""
        return hashlib.sha256(self.bind_token.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedSandbox:
    """What a new member of a pool shall be; `pod_name` must be new for ever."""

    namespace: str
    pod_name: str
    environment: str
    pool: str
    has_claim: bool = False
    packages: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmReport:
    """What the operator saw of a Pod of a pool; `address` where it is ready."""

    namespace: str
    pod_name: str
    state: Literal["pending", "ready", "gone"]
    pod_uid: str | None = None
    address: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolClaim:
    """Which pool a claim may take a sandbox from: the Environment's, at the generation that the Environment is at."""

    environment: str
    generation: int


class WarmSandboxes(Protocol):
    """The pools of all Environments. What changes something returns after it is durable."""

    async def put_pool(self, pool: SandboxPool) -> None:
        """Say what sandboxes of an Environment are like from now on."""
        ...

    async def drop_pool(self, namespace: str, environment: str) -> None:
        """Let no session claim from an Environment's pool any more; also one that is not there."""
        ...

    async def add(self, wanted: WantedSandbox) -> WarmSandbox:
        """Make a record with a fresh one-time token, before its Pod is made."""
        ...

    async def find(self, namespace: str) -> tuple[Sequence[SandboxPool], Sequence[WarmSandbox]]:
        """Return a namespace's pools, and its records that no session has claimed, oldest first."""
        ...

    async def namespaces(self) -> Sequence[str]:
        """Return the namespaces that have a pool or a record."""
        ...

    async def without_packages(self) -> Sequence[WarmSandbox]:
        """Return the records whose Pod runs and waits for its packages, oldest first."""
        ...

    async def report(self, report: WarmReport) -> WarmSandbox | None:
        """Store what the operator saw; null for one that was claimed or retired, or now is gone."""
        ...

    async def supplied(self, namespace: str, pod_name: str, pod_uid: str) -> None:
        """Note that the packages are in that very Pod: it is free, unless it is gone or claimed meanwhile."""
        ...

    async def retire(self, namespace: str, pod_name: str) -> bool:
        """Forget a record, or one that never was, so that its Pod may be deleted.

        Tells whether a session keeps its workspace in the claim of that name, which then must stay.
        Raises: ConflictError while the Pod is a session's sandbox.
        """
        ...
