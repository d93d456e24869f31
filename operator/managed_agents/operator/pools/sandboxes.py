"""Warm sandboxes: which pool each Environment has, and what to do for all of a namespace. Pure.

The server has the record of each: made before the Pod, retired before the Pod goes. So the records say what shall be,
and this brings Pods and claims to them. What a session claimed is no longer among them: the session's reconcile adopts
it, and until then the server refuses to retire it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from managed_agents.contracts import ports
from managed_agents.contracts.api.environments import environment_id_of
from managed_agents.kube.resources import Manifest
from managed_agents.operator.sessions.pod_state import PodReading

STARTING_MAX = 8
"""Warm Pods of one Environment that start at once: sessions need the node too."""

_WORTH = {"free": 0, "ready": 1, "wanted": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmRecord:
    """A sandbox that no session has, as the server knows it (docs/internal-api.md)."""

    pod_name: str
    environment: str
    pool: str
    state: Literal["wanted", "ready", "free"]
    token_sha256: str
    has_claim: bool
    packages: str | None
    pod_uid: str | None
    address: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerView:
    """What the server has of a namespace: generation and pool by Environment, and the records, oldest first."""

    pools: Mapping[str, tuple[int, str]]
    records: tuple[WarmRecord, ...]

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> Self:
        """Read the server's answer. Raises: KeyError, TypeError when it is none."""
        return cls(
            pools={item["environment"]: (item["generation"], item["pool"]) for item in value["pools"]},
            records=tuple(WarmRecord(**item) for item in value["sandboxes"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxPool:
    """The pool that an Environment shall have. `name` says all that shapes a Pod of it."""

    environment: Manifest
    name: str
    wanted: int
    packages: str | None
    can_start: bool
    """Its packages are installed, so that a Pod can have them."""

    @property
    def environment_id(self) -> str:
        """Return the API's id of the Environment."""
        return environment_id_of(self.environment)

    @property
    def has_claim(self) -> bool:
        """Tell whether a Pod of it brings a workspace along."""
        return bool((self.environment["spec"].get("sandbox") or {}).get("workspace"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The objects of a namespace's pools: Pods by name, and the UIDs of their claims."""

    pods: Mapping[str, PodReading]
    claims: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class TellPool:
    """Tell the server which pool is right for an Environment's generation."""

    environment: str
    generation: int
    pool: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DropPool:
    """Tell the server that an Environment has no pool."""

    environment: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AddSandbox:
    """Make a record at the server, then its objects."""

    pool: SandboxPool


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeSandbox:
    """Make the objects of a record."""

    pool: SandboxPool
    record: WarmRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportWarm:
    """Tell the server what a Pod does; with an address it is ready."""

    pod_name: str
    pod_uid: str
    address: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetireSandbox:
    """Take a sandbox back at the server, then delete its objects; its claim stays where a session works in it."""

    pod_name: str
    pod_uid: str | None
    claim_uid: str | None


WarmAction = TellPool | DropPool | AddSandbox | MakeSandbox | ReportWarm | RetireSandbox


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxDecision:
    """What to do, each for itself; and how many free sandboxes each Environment has, by name."""

    actions: tuple[WarmAction, ...]
    free: Mapping[str, int]
    is_settling: bool
    """Something becomes free without an event of ours: a report was made, or packages are on their way."""


def decide_sandboxes(
    pools: Sequence[SandboxPool], paused: Iterable[str], view: ServerView, found: Found
) -> SandboxDecision:
    """Bring the pools of a namespace to their size and their kind. `paused` are ids of Environments to leave alone.

    What is outdated goes before anything is made in its place: no claim can get it, and a quota may hold no more.
    """
    frozen = frozenset(paused)
    records = [record for record in view.records if record.environment not in frozen]
    kept_names = {record.pod_name for record in view.records if record.environment in frozen}
    reports: list[WarmAction] = []
    makes: list[WarmAction] = []
    free = {}
    for pool in pools:
        kept = _kept(pool, records, found)
        kept_names |= {record.pod_name for record in kept}
        free[str(pool.environment["metadata"]["name"])] = sum(record.state == "free" for record in kept)
        reports += [report for record in kept for report in _reports(record, found.pods.get(record.pod_name))]
        makes += _makes(pool, kept, found)
    actions = [*_told(pools, frozen, view), *reports, *_retired(kept_names, records, found), *makes]
    settling = bool(reports) or any(record.state == "ready" for record in records)
    return SandboxDecision(actions=tuple(actions), free=free, is_settling=settling)


def _told(pools: Sequence[SandboxPool], frozen: frozenset[str], view: ServerView) -> list[WarmAction]:
    """Name the pools first: what they say takes outdated sandboxes out of use at once."""
    wanted = {
        pool.environment_id: (int(pool.environment["metadata"]["generation"]), pool.name)
        for pool in pools
        if pool.wanted > 0
    }
    told = [
        TellPool(environment=environment, generation=generation, pool=name)
        for environment, (generation, name) in wanted.items()
        if view.pools.get(environment) != (generation, name)
    ]
    return [*told, *(DropPool(environment=item) for item in view.pools if item not in wanted and item not in frozen)]


def _kept(pool: SandboxPool, records: Iterable[WarmRecord], found: Found) -> list[WarmRecord]:
    """Return the records of a pool that stay: of its kind, with a Pod that lives or is to come, the best first."""
    usable = [
        record
        for record in records
        if (record.environment, record.pool) == (pool.environment_id, pool.name)
        and _is_usable(record, found.pods.get(record.pod_name))
    ]
    return sorted(usable, key=lambda record: _WORTH[record.state])[: pool.wanted]


def _is_usable(record: WarmRecord, pod: PodReading | None) -> bool:
    if pod is None:
        return record.pod_uid is None  # not made yet
    return pod.loss is None and not pod.is_deleting and record.pod_uid in (None, pod.uid)


def _reports(record: WarmRecord, pod: PodReading | None) -> list[WarmAction]:
    if pod is None:
        return []
    address = f"{pod.address}:{ports.SUPERVISOR_PORT}" if pod.is_running else None
    if address == record.address:
        return []
    return [ReportWarm(pod_name=pod.name, pod_uid=pod.uid, address=address)]


def _makes(pool: SandboxPool, kept: Sequence[WarmRecord], found: Found) -> list[WarmAction]:
    if not pool.can_start:
        return []
    missing = pool.wanted - len(kept)
    starting = sum(record.state == "wanted" for record in kept)
    return [
        *(MakeSandbox(pool=pool, record=record) for record in kept if record.pod_name not in found.pods),
        *(AddSandbox(pool=pool) for _ in range(min(missing, STARTING_MAX - starting))),
    ]


def _retired(kept: set[str], records: Iterable[WarmRecord], found: Found) -> list[WarmAction]:
    """Take back all else: too many, outdated, dead, and what the server does not know or has given to a session."""
    living = {name for name, pod in found.pods.items() if not pod.is_deleting}
    leaving = {record.pod_name for record in records} | living | set(found.claims)
    actions: list[WarmAction] = []
    for name in sorted(leaving - kept):
        pod = found.pods.get(name)
        actions.append(RetireSandbox(pod_name=name, pod_uid=pod.uid if pod else None, claim_uid=found.claims.get(name)))
    return actions
