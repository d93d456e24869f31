"""What one reconcile of a Session sees, and what it decides. All values are frozen."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from managed_agents.contracts import ids, names
from managed_agents.contracts.api import conditions
from managed_agents.kube.resources import Manifest, Resource
from managed_agents.operator.actions import Action
from managed_agents.operator.sessions.pod_state import PodReading, Problem
from managed_agents.operator.settings import SessionSettings
from managed_agents.operator.summaries import Summary


@dataclass(frozen=True, slots=True, kw_only=True)
class HarnessPod:
    """A Pod with the harness's labels. `deployment_uid` only when its chain of owners ends at our Deployment."""

    reading: PodReading
    deployment_uid: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """What the Session's references resolve to in its own namespace."""

    agent: Manifest | None = None
    snapshot: Mapping[str, Any] | None = None
    """The pinned version of the Agent, in API form; None while it is unknown."""
    environment: Manifest | None = None
    providers: tuple[Manifest, ...] = ()
    missing_config_maps: tuple[str, ...] = ()
    vaults: tuple[tuple[str, Manifest | None], ...] = ()
    """By name, in the order of `spec.vaultRefs`; None for one that is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why the last attempt at an action failed: a condition until an attempt succeeds."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFinding:
    """What is amiss with the tokens of a session's repositories; without a reason nothing is."""

    reason: str | None = None
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What this process did for a Session. Losing it (a restart) costs idempotent repeats, nothing else."""

    put_digest: str | None = None
    registered: frozenset[str] = frozenset()
    reported: frozenset[str] = frozenset()
    is_deleted_at_server: bool = False
    fault: Fault | None = None
    status_digest: str | None = None
    status_written_at: datetime | None = None
    oom_kills: Mapping[str, int] = field(default_factory=dict)
    writes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A Session and all that belongs to it, at one moment."""

    session: Manifest
    catalog: Catalog
    summary: Summary | None
    deployment: Manifest | None
    """The harness Deployment that serves the session, or will."""
    spare_deployments: tuple[Manifest, ...]
    """Others of the session, of which none is needed: a Pod of `deployment` holds the lease."""
    adoptable: tuple[tuple[Resource, Manifest], ...]
    """What came from a pool and lacks the session's labels or owner: a leased Deployment, its Pods."""
    deployment_problem: Problem | None
    harness_pods: tuple[HarnessPod, ...]
    sandbox_pods: tuple[PodReading, ...]
    claims: tuple[Manifest, ...]
    from_pool: tuple[tuple[Resource, Manifest], ...]
    """Those sandbox Pods and claims that the session took from a pool, and that are not marked as its own yet."""
    is_namespace_ready: bool
    is_clean: bool
    """A live list, made because nothing of the Session was left in the cache, was empty."""
    memory: Memory
    settings: SessionSettings
    may_start: bool = True
    """It is the session's turn to start a harness Pod of its own, should it need one."""
    tokens: TokenFinding | None = None
    """What was found of its repositories' tokens, once somebody has looked."""

    @property
    def namespace(self) -> str:
        """Return the Session's namespace."""
        return str(self.session["metadata"]["namespace"])

    @property
    def name(self) -> str:
        """Return the Session's name."""
        return str(self.session["metadata"]["name"])

    @property
    def uid(self) -> str:
        """Return the Session's UID."""
        return str(self.session["metadata"]["uid"])

    @property
    def session_id(self) -> str:
        """Return the API's id of the Session."""
        return session_id_of(self.session)

    @property
    def is_deleting(self) -> bool:
        """Tell whether somebody deleted the Session."""
        return bool(self.session["metadata"].get("deletionTimestamp"))

    @property
    def is_paused(self) -> bool:
        """Tell whether the annotation stops reconciliation."""
        return is_paused(self.session)

    @property
    def has_finalizer(self) -> bool:
        """Tell whether our finalizer is on the Session."""
        return names.FINALIZER in (self.session["metadata"].get("finalizers") or [])

    @property
    def idle_timeout_seconds(self) -> float:
        """Return how long a harness stays after the session became idle."""
        spec: Mapping[str, Any] = (self.catalog.environment or {}).get("spec") or {}
        given = (spec.get("harness") or {}).get("idleTimeoutSeconds")
        return float(self.settings.idle_timeout_seconds if given is None else given)

    @property
    def is_terminated(self) -> bool:
        """Tell whether the session takes no more events."""
        return self.summary is not None and self.summary.status == "terminated"

    @property
    def collecting(self) -> str | None:
        """Return the sandbox Pod that stays because a harness Pod, which lives, still copies its outputs."""
        has_proxy = any(not pod.reading.has_ended for pod in self.harness_pods)
        return self.summary.collecting if self.summary is not None and has_proxy else None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """What one step of the life cycle wants."""

    actions: tuple[Action, ...] = ()
    requeue_after: float | None = None
    problem: Problem | None = None
    """What keeps the session from going on, if the step found something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """All that one reconcile wants: groups in order; in a group an action runs only if those before it succeeded."""

    groups: tuple[tuple[Action, ...], ...] = ()
    requeue_after: float | None = None


def session_id_of(session: Manifest) -> str:
    """Return the API's id of a Session: derived from its UID, or the annotation that a restore set."""
    annotations = session["metadata"].get("annotations") or {}
    return str(annotations.get(names.ANNOTATION_ID) or ids.session_id_for(session["metadata"]["uid"]))


def is_paused(manifest: Manifest) -> bool:
    """Tell whether the annotation stops an object's reconciliation."""
    return (manifest["metadata"].get("annotations") or {}).get(names.ANNOTATION_PAUSED) == "true"


def condition_of(manifest: Manifest, kind: str) -> Mapping[str, Any] | None:
    """Return the condition of a type, if the object has it."""
    for condition in (manifest.get("status") or {}).get("conditions") or []:
        if condition.get("type") == kind:
            found: Mapping[str, Any] = condition
            return found
    return None


def is_ready(manifest: Manifest) -> bool:
    """Tell whether `Ready` is true for the newest generation."""
    ready = condition_of(manifest, conditions.READY)
    return (
        ready is not None
        and ready.get("status") == "True"
        and ready.get("observedGeneration") == manifest["metadata"].get("generation")
    )
