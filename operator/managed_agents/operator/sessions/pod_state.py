"""What a Pod's or Deployment's status means to us: usable, in trouble (and why), or lost (and why).

Pure readings of the status that kubelet, scheduler and controllers write; reasons are those of
`contracts.api.conditions`.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from managed_agents.contracts.api import conditions
from managed_agents.contracts.clock import parse_rfc3339
from managed_agents.kube.resources import Manifest

UNSCHEDULABLE_SECONDS = 5.0
"""A Pod is unschedulable for a moment while its claim is bound or another Pod leaves; only then it is news."""

GONE_DELETED = "Deleted"
"""Reason of a sandbox that somebody deleted (internal API)."""

MESSAGE_CHARACTERS_MAX = 500
"""Kubernetes' own messages grow with the number of nodes; a condition keeps their beginning."""

_IMAGE_REASONS = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}
)
_FAILED_REASONS = frozenset(
    {"CrashLoopBackOff", "CreateContainerConfigError", "CreateContainerError", "RunContainerError", "StartError"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why a Pod does not come up (it still may) or why it is gone."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PodReading:
    """A Pod as the steps see it. `recheck_seconds`: look again then, for the verdict changes with time alone."""

    name: str
    uid: str
    is_deleting: bool
    has_ended: bool
    """No container will run again in it."""
    is_running: bool
    """All containers run; for a sandbox: it can be dialled."""
    address: str | None
    problem: Problem | None
    loss: Problem | None
    oom_kills: int
    """Containers whose last end was for lack of memory, counted with their restarts."""
    recheck_seconds: float | None = None


def read_pod(pod: Manifest, now: datetime) -> PodReading:
    """Read a Pod's status at a moment."""
    status = pod.get("status") or {}
    statuses = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    problem, recheck = _problem(status, statuses, now)
    running = bool(statuses) and all("running" in (item.get("state") or {}) for item in statuses)
    return PodReading(
        name=pod["metadata"]["name"],
        uid=pod["metadata"]["uid"],
        is_deleting=bool(pod["metadata"].get("deletionTimestamp")),
        has_ended=status.get("phase") in ("Failed", "Succeeded"),
        is_running=running and len(statuses) == _containers(pod) and bool(status.get("podIP")),
        address=status.get("podIP"),
        problem=problem,
        loss=_loss(pod, status, statuses),
        oom_kills=sum(item.get("restartCount", 0) for item in statuses if _ended_by_memory(item)),
        recheck_seconds=recheck,
    )


def read_deployment(deployment: Manifest) -> Problem | None:
    """Return why a Deployment cannot make its Pod: a quota, or admission."""
    for condition in (deployment.get("status") or {}).get("conditions") or []:
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            return Problem(reason=conditions.QUOTA_EXCEEDED, message=_cut(condition.get("message") or "refused"))
    return None


def _containers(pod: Manifest) -> int:
    spec = pod["spec"]
    return len(spec.get("initContainers") or []) + len(spec["containers"])


def _problem(
    status: dict[str, Any], statuses: list[dict[str, Any]], now: datetime
) -> tuple[Problem | None, float | None]:
    for item in statuses:
        waiting = (item.get("state") or {}).get("waiting") or {}
        reason = waiting.get("reason") or ""
        message = waiting.get("message") or reason
        if reason in _IMAGE_REASONS:
            text = f'image "{item.get("image")}" cannot be pulled: {message}'
            return Problem(reason=conditions.IMAGE_PULL_FAILED, message=_cut(text)), None
        if reason in _FAILED_REASONS:
            ended = (item.get("lastState") or {}).get("terminated") or {}
            detail = f" (last exit code {ended['exitCode']}, {ended.get('reason', 'Error')})" if ended else ""
            text = f'container "{item["name"]}": {message}{detail}'
            return Problem(reason=conditions.POD_FAILED, message=_cut(text)), None
    return _unscheduled(status, now)


def _unscheduled(status: dict[str, Any], now: datetime) -> tuple[Problem | None, float | None]:
    for condition in status.get("conditions") or []:
        if condition.get("type") != "PodScheduled" or condition.get("status") != "False":
            continue
        since = parse_rfc3339(condition["lastTransitionTime"]) if condition.get("lastTransitionTime") else now
        age = (now - since.astimezone(UTC)).total_seconds()
        if age < UNSCHEDULABLE_SECONDS:
            return None, UNSCHEDULABLE_SECONDS - age
        return Problem(reason=conditions.UNSCHEDULABLE, message=_cut(condition.get("message") or "no node fits")), None
    return None, None


def _loss(pod: Manifest, status: dict[str, Any], statuses: list[dict[str, Any]]) -> Problem | None:
    if status.get("phase") in ("Failed", "Succeeded"):
        message = _cut(status.get("message") or f'Pod ended in phase "{status["phase"]}"')
        if status.get("reason") == conditions.EVICTED:
            return Problem(reason=conditions.EVICTED, message=message)
        if any(_is_oom((item.get("state") or {}).get("terminated")) for item in statuses):
            return Problem(reason=conditions.OOM_KILLED, message=message)
        return Problem(reason=conditions.POD_FAILED, message=message)
    if pod["metadata"].get("deletionTimestamp"):
        return Problem(reason=GONE_DELETED, message=f'Pod "{pod["metadata"]["name"]}" is being deleted')
    return None


def _is_oom(terminated: dict[str, Any] | None) -> bool:
    return bool(terminated) and (terminated or {}).get("reason") == conditions.OOM_KILLED


def _ended_by_memory(item: dict[str, Any]) -> bool:
    return _is_oom((item.get("lastState") or {}).get("terminated"))


def _cut(text: str) -> str:
    return text if len(text) <= MESSAGE_CHARACTERS_MAX else text[: MESSAGE_CHARACTERS_MAX - 1] + "…"
