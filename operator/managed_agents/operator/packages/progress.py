"""How far a Job of packages is, read from itself and its Pods. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from managed_agents.kube.resources import Manifest
from managed_agents.operator.packages.job import container_of

MESSAGE_CHARS_MAX = 3000


@dataclass(frozen=True, slots=True, kw_only=True)
class Installing:
    """It goes on; `message` says what it does."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """It has failed for good; `message` holds the end of what the manager printed."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """The archive has been brought to the server."""


Progress = Installing | Failed | Completed


def progress_of(job: Manifest, pods: Sequence[Manifest], managers: Sequence[str]) -> Progress:
    """Read a Job with its Pods, of which the newest tells."""
    conditions = {item["type"]: item for item in (job.get("status") or {}).get("conditions") or []}
    newest = max(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp")), default=None)
    if _is_true(conditions, "Complete"):
        return Completed()
    if _is_true(conditions, "Failed") or _is_true(conditions, "FailureTarget"):
        reason = conditions.get("Failed") or conditions["FailureTarget"]
        said = _failure_of(newest, managers) if newest is not None else None
        return Failed(message=(said or f"{reason.get('reason')}: {reason.get('message')}")[:MESSAGE_CHARS_MAX])
    if newest is None:
        return Installing(message="the Job waits for its Pod")
    return Installing(message=_step_of(newest, managers))


def _is_true(conditions: dict[str, Any], kind: str) -> bool:
    return bool(conditions.get(kind, {}).get("status") == "True")


def _statuses(pod: Manifest) -> dict[str, Any]:
    status = pod.get("status") or {}
    listed = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    return {item["name"]: item for item in listed}


def _failure_of(pod: Manifest, managers: Sequence[str]) -> str | None:
    statuses = _statuses(pod)
    for name in (*(container_of(manager) for manager in managers), "upload"):
        ended = (statuses.get(name, {}).get("state") or {}).get("terminated") or {}
        if ended.get("exitCode"):
            what = name.removeprefix("install-") if name != "upload" else "bringing the archive to the server"
            said = str(ended.get("message") or "").strip()
            return f"{what} failed ({ended.get('reason')}, status {ended['exitCode']}): {said or 'it said nothing'}"
    return None


def _step_of(pod: Manifest, managers: Sequence[str]) -> str:
    """Say which of the containers works, or what it waits for."""
    statuses, name = _statuses(pod), pod["metadata"]["name"]
    unscheduled = next(
        (
            item
            for item in (pod.get("status") or {}).get("conditions") or []
            if item["type"] == "PodScheduled" and item["status"] == "False"
        ),
        None,
    )
    if unscheduled is not None:
        return f'Pod "{name}" cannot be scheduled: {unscheduled.get("message")}'
    for index, manager in enumerate(managers, start=1):
        state = statuses.get(container_of(manager), {}).get("state") or {}
        if "running" in state:
            return f"installing with {manager} (step {index} of {len(managers)})"
        if waiting := _trouble(state):
            return f"{manager} (step {index} of {len(managers)}): {waiting}"
    if "running" in (statuses.get("upload", {}).get("state") or {}):
        return "everything is installed; bringing the archive to the server"
    return f'Pod "{name}" is starting'


def _trouble(state: Manifest) -> str | None:
    waiting = state.get("waiting") or {}
    if waiting.get("reason") in (None, "PodInitializing", "ContainerCreating"):
        return None
    return f"{waiting['reason']}: {waiting.get('message') or 'no message'}"
