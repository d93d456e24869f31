"""The last step: a deleted Session takes all of its own with it; its finalizer goes after the proof. Pure."""

from datetime import datetime

from managed_agents.contracts.api import conditions
from managed_agents.contracts.clock import parse_rfc3339
from managed_agents.kube.resources import CLAIMS, PODS, Manifest
from managed_agents.operator.actions import Action, DeleteChild, DeleteSession, SetFinalizer
from managed_agents.operator.sessions.announcements import announce
from managed_agents.operator.sessions.idle import removals
from managed_agents.operator.sessions.model import Observed, StepResult

RECHECK_SECONDS = 1.0
"""Between looks while Pods end; their events come earlier as a rule."""

FORCE_SECONDS = 10.0
"""Pods that outlive their grace by so much are deleted by force: a node that is gone confirms nothing (30 s in all)."""

SANDBOX_GRACE_SECONDS = 1
"""The least that lets the kubelet confirm that the containers have ended."""


def finalize(observed: Observed, now: datetime) -> StepResult:
    """Delete at the server first, so that nothing runs on; then the objects; let go when a live list is empty."""
    if not observed.has_finalizer:
        return StepResult()
    if observed.is_clean and observed.memory.is_deleted_at_server:
        return StepResult(actions=(SetFinalizer(session=observed.session, present=False),))
    actions: list[Action] = []
    if not observed.memory.is_deleted_at_server:
        actions.append(announce(observed, conditions.DELETING, "removing the session and all that belongs to it"))
        actions.append(DeleteSession(session_id=observed.session_id, namespace=observed.namespace))
    actions += removals(observed, sandbox_grace_seconds=SANDBOX_GRACE_SECONDS)
    actions += [_delete_claim(observed, claim) for claim in observed.claims if not _is_deleting(claim)]
    if _age_seconds(observed, now) > FORCE_SECONDS:
        actions += _forced(observed)
    return StepResult(actions=tuple(actions), requeue_after=RECHECK_SECONDS)


def _age_seconds(observed: Observed, now: datetime) -> float:
    return (now - parse_rfc3339(observed.session["metadata"]["deletionTimestamp"])).total_seconds()


def _forced(observed: Observed) -> list[Action]:
    pods = [*(pod.reading for pod in observed.harness_pods), *observed.sandbox_pods]
    return [
        DeleteChild(resource=PODS, namespace=observed.namespace, name=pod.name, uid=pod.uid, grace_seconds=0)
        for pod in pods
        if pod.is_deleting
    ]


def _delete_claim(observed: Observed, claim: Manifest) -> DeleteChild:
    metadata = claim["metadata"]
    return DeleteChild(resource=CLAIMS, namespace=observed.namespace, name=metadata["name"], uid=metadata["uid"])


def _is_deleting(manifest: Manifest) -> bool:
    return bool(manifest["metadata"].get("deletionTimestamp"))
