"""Step 3: a session with work has a harness Deployment, and the server knows the Deployment's Pods. Pure.

The server leases a warm harness where it has one; its Deployment is adopted here, afterwards. Only where it has none is
one made for the session alone.
"""

from managed_agents.contracts import names
from managed_agents.contracts.api.environments import harness_image_of
from managed_agents.kube.resources import DEPLOYMENTS, Manifest
from managed_agents.operator.actions import (
    Action,
    AdoptChild,
    CreateChild,
    DeleteChild,
    EnsureNamespace,
    RegisterPod,
    UnregisterPod,
    UpdateChild,
)
from managed_agents.operator.sessions.harness_pods import harness_deployment_for, is_outdated, is_warm_made
from managed_agents.operator.sessions.metadata import labels_for, owner_for
from managed_agents.operator.sessions.model import HarnessPod, Observed, StepResult
from managed_agents.operator.sessions.pod_state import Problem

PACKAGES_RECHECK_SECONDS = 3.0
TURN_RECHECK_SECONDS = 10.0
"""A turn comes with an event; this is for the start that never ended."""
PROBLEM_RECHECK_SECONDS = 15.0
"""Quotas and images change without an event of ours."""


def run(observed: Observed) -> StepResult:
    """Create or mend the harness Deployment while the session is wanted; keep the registered Pods true."""
    actions = [*_adoptions(observed), *_deployment(observed), *_spare(observed), *_registrations(observed)]
    problem = _problem(observed)
    rechecks = [pod.reading.recheck_seconds for pod in observed.harness_pods if pod.reading.recheck_seconds is not None]
    if problem is not None:
        rechecks.append(PROBLEM_RECHECK_SECONDS)
    if waits_for_turn(observed):
        rechecks.append(TURN_RECHECK_SECONDS)
    return StepResult(actions=tuple(actions), problem=problem, requeue_after=min(rechecks, default=None))


def is_harness_needed(observed: Observed) -> bool:
    """Tell whether input waits or a turn is open."""
    return observed.summary is not None and observed.summary.wanted and not observed.is_terminated


def needs_start(observed: Observed) -> bool:
    """Tell whether a harness Pod must start for this session alone."""
    is_asked = observed.summary is not None and observed.summary.needs_pod
    is_ours = not (observed.is_deleting or observed.is_paused)
    return is_asked and is_ours and is_harness_needed(observed) and observed.deployment is None


def waits_for_turn(observed: Observed) -> bool:
    """Tell whether other harness Pods of the namespace start first."""
    return needs_start(observed) and not observed.may_start


def _deployment(observed: Observed) -> list[Action]:
    if not is_harness_needed(observed):
        return []
    if observed.deployment is None:
        if not needs_start(observed) or not observed.may_start:
            return []
        desired = harness_deployment_for(observed.session, observed.catalog.environment, observed.settings)
        ensure: list[Action] = [] if observed.is_namespace_ready else [EnsureNamespace(namespace=observed.namespace)]
        return [*ensure, CreateChild(resource=DEPLOYMENTS, manifest=desired, owner_uid=observed.uid)]
    return _mended(observed, observed.deployment)


def _mended(observed: Observed, deployment: Manifest) -> list[Action]:
    """Renew what an older operator made. A working harness is left alone until the session is idle."""
    image = harness_image_of(observed.catalog.environment)
    if not is_outdated(deployment, image, observed.settings) or _has_usable_pod(observed):
        return []
    if is_warm_made(deployment):  # its template is a pool's: the session gets another one
        return [] if deployment["metadata"].get("deletionTimestamp") else [_removal(observed, deployment)]
    desired = harness_deployment_for(observed.session, observed.catalog.environment, observed.settings)
    return [UpdateChild(resource=DEPLOYMENTS, manifest=desired)]


def _adoptions(observed: Observed) -> list[Action]:
    """Owner on the Deployment only, for a second owner on a Pod leaks it; labels on both (design §3)."""
    labels: dict[str, str | None] = {
        **labels_for(observed.session, names.COMPONENT_HARNESS),
        names.LABEL_POOL: None,
    }
    return [
        AdoptChild(
            resource=resource,
            namespace=observed.namespace,
            name=manifest["metadata"]["name"],
            uid=manifest["metadata"]["uid"],
            labels=labels,
            owner=owner_for(observed.session) if resource == DEPLOYMENTS else None,
        )
        for resource, manifest in observed.adoptable
    ]


def _spare(observed: Observed) -> list[Action]:
    if observed.collecting is not None:  # one of them may be the one that copies
        return []
    return [_removal(observed, deployment) for deployment in observed.spare_deployments]


def _removal(observed: Observed, deployment: Manifest) -> DeleteChild:
    metadata = deployment["metadata"]
    return DeleteChild(resource=DEPLOYMENTS, namespace=observed.namespace, name=metadata["name"], uid=metadata["uid"])


def _has_usable_pod(observed: Observed) -> bool:
    return any(pod.reading.is_running and not pod.reading.is_deleting for pod in observed.harness_pods)


def _registrations(observed: Observed) -> list[Action]:
    known = observed.memory.registered
    # a released session's Pods are on their way out: registered anew, they would take it back
    is_theirs = observed.summary is not None and (is_harness_needed(observed) or not observed.summary.released)
    register = [
        RegisterPod(
            session_id=observed.session_id,
            namespace=observed.namespace,
            pod_name=pod.reading.name,
            pod_uid=pod.reading.uid,
            deployment_uid=pod.deployment_uid or "",
        )
        for pod in observed.harness_pods
        if is_theirs and _may_register(pod) and pod.reading.uid not in known
    ]
    # a Pod that is asked to stop hands over within its grace; its identity holds until it has ended
    present = {pod.reading.uid for pod in observed.harness_pods if not pod.reading.has_ended}
    return [*register, *(UnregisterPod(pod_uid=uid) for uid in sorted(known - present))]


def _may_register(pod: HarnessPod) -> bool:
    return pod.deployment_uid is not None and not pod.reading.has_ended and not pod.reading.is_deleting


def _problem(observed: Observed) -> Problem | None:
    if not is_harness_needed(observed):
        return None
    live = [pod for pod in observed.harness_pods if not pod.reading.is_deleting]
    if not live:
        return observed.deployment_problem
    return next((pod.reading.problem for pod in live if pod.reading.problem is not None), None)
