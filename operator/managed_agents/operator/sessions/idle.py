"""Step 5: a session that has been idle long enough gives its Pods back. Pure.

First the server releases it (refused while input waits), then its objects go. So a message that arrives meanwhile is
never lost: either it wins, or it makes the session wanted again and everything is made anew. Between the two the proxy
copies what is left in the sandbox (docs/files.md).
"""

from datetime import datetime

from managed_agents.contracts.api import conditions
from managed_agents.kube.resources import DEPLOYMENTS, PODS
from managed_agents.operator.actions import Action, DeleteChild, ReleaseHarness
from managed_agents.operator.sessions.announcements import announce
from managed_agents.operator.sessions.model import Observed, StepResult


def go_idle(observed: Observed, now: datetime) -> StepResult:
    """Release after the idle time, remove after the release; an ended session is removed at once."""
    summary = observed.summary
    if summary is None or (summary.wanted and not observed.is_terminated):
        return StepResult()
    if observed.is_terminated or summary.released:
        if observed.collecting is not None:
            return StepResult()  # the server bounds it, and its end is a change of the summary
        return StepResult(actions=tuple(removals(observed)))
    has_pods = observed.deployment is not None or observed.harness_pods or observed.sandbox_pods
    if summary.status != "idle" or not has_pods:
        return StepResult()
    left = observed.idle_timeout_seconds - (now - summary.status_since).total_seconds()
    if left > 0:
        return StepResult(requeue_after=left)
    release = ReleaseHarness(session_id=observed.session_id, epoch=summary.epoch)
    text = f"idle for {observed.idle_timeout_seconds:g} s; the next event brings its harness back"
    told = announce(observed, conditions.HARNESS_RELEASED, text, f"{summary.epoch}")
    return StepResult(actions=(release, told))


def removals(observed: Observed, *, sandbox_grace_seconds: int | None = None) -> list[Action]:
    """Delete Deployment and sandbox Pods; the harness's Pods follow their Deployment by garbage collection."""
    actions: list[Action] = []
    deployments = (*((observed.deployment,) if observed.deployment else ()), *observed.spare_deployments)
    for metadata in (item["metadata"] for item in deployments):
        if not metadata.get("deletionTimestamp"):
            gone = DeleteChild(
                resource=DEPLOYMENTS, namespace=observed.namespace, name=metadata["name"], uid=metadata["uid"]
            )
            actions.append(gone)
    actions += [
        DeleteChild(
            resource=PODS,
            namespace=observed.namespace,
            name=pod.name,
            uid=pod.uid,
            grace_seconds=sandbox_grace_seconds,
        )
        for pod in observed.sandbox_pods
        if not pod.is_deleting
    ]
    return actions
