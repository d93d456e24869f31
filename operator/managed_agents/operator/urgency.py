"""Which news a reconcile must follow at once: what a Pod, a sandbox or a person waits for. Pure.

The rest (a Pod's way through its phases, a Deployment's counts, a session's usage and status) is gathered for a moment
and reconciled together: a life of a session brings forty pieces of news, and calls for a third of the reconciles.
"""

from datetime import datetime

from managed_agents.kube.resources import CLAIMS, DEPLOYMENTS, PODS, SESSIONS, Manifest, Resource
from managed_agents.operator.sessions.pod_state import read_pod
from managed_agents.operator.summaries import Summary

_OF_SESSION = ("uid", "generation", "deletionTimestamp", "annotations", "labels", "finalizers")


def is_urgent(resource: Resource, manifest: Manifest, before: Manifest | None, now: datetime) -> bool:
    """Tell whether an object's change matters at once; `before` is the object as it was known."""
    if before is None:
        return True
    if resource in (DEPLOYMENTS, CLAIMS):
        return False
    if resource == SESSIONS:
        return any(manifest["metadata"].get(field) != before["metadata"].get(field) for field in _OF_SESSION)
    return resource != PODS or _state_of(manifest, now) != _state_of(before, now)


def is_loss_urgent(resource: Resource) -> bool:
    """Tell whether it matters at once that an object is gone."""
    return resource not in (DEPLOYMENTS, CLAIMS)


def is_summary_urgent(summary: Summary, before: Summary | None) -> bool:
    """Tell whether the server's news of a session matters at once."""
    if before is None or summary.status == "terminated":
        return True
    if summary.needs_pod and not before.needs_pod:
        return True
    return (summary.sandbox, summary.released, summary.collecting) != (
        before.sandbox,
        before.released,
        before.collecting,
    )


def _state_of(pod: Manifest, now: datetime) -> tuple[object, ...]:
    reading = read_pod(pod, now)
    return reading.is_deleting, reading.has_ended, reading.is_running, reading.problem
