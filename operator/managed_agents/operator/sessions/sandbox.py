"""Step 4: the sandbox that the server asked for exists, and the server hears what becomes of it. Pure.

The server names the Pod (`summary.sandbox`); every other sandbox Pod of the Session is retired, once nothing of it is
copied any more.
"""

from typing import Literal, assert_never

from managed_agents.contracts import names, ports
from managed_agents.contracts.api import conditions
from managed_agents.kube.resources import CLAIMS, PODS
from managed_agents.operator.actions import Action, CreateChild, DeleteChild, EnsureNamespace, ReportSandbox
from managed_agents.operator.sessions.admit import packages_refusal
from managed_agents.operator.sessions.announcements import announce
from managed_agents.operator.sessions.model import Observed, StepResult
from managed_agents.operator.sessions.pod_state import GONE_DELETED, PodReading, Problem
from managed_agents.operator.sessions.run import PACKAGES_RECHECK_SECONDS, PROBLEM_RECHECK_SECONDS
from managed_agents.operator.sessions.sandbox_pods import sandbox_pod_for, workspace_claim_for
from managed_agents.operator.summaries import SandboxRecord

State = Literal["pending", "ready", "gone"]


def see_to_sandbox(observed: Observed) -> StepResult:
    """Make, report and retire sandbox Pods. Without a summary nothing is known, so nothing is touched."""
    if observed.summary is None:
        return StepResult()
    # A released session has no hands: making one would only be undone, again and again.
    record = None if observed.summary.released else observed.summary.sandbox
    kept = {observed.collecting, None if record is None else record.pod_name}
    actions: list[Action] = [
        _retire(observed, pod) for pod in observed.sandbox_pods if not pod.is_deleting and pod.name not in kept
    ]
    if record is None or observed.is_terminated:
        return StepResult(actions=tuple(actions))
    pod = next((pod for pod in observed.sandbox_pods if pod.name == record.pod_name), None)
    if pod is None:
        actions += _absent(observed, record)
        recheck = PACKAGES_RECHECK_SECONDS if _waits_for_packages(observed) is not None else None
        return StepResult(actions=tuple(actions), problem=_fault_of(observed), requeue_after=recheck)
    actions += _present(observed, pod)
    problem = pod.problem if not record.is_claimed else None
    rechecks = [seconds for seconds in (pod.recheck_seconds, PROBLEM_RECHECK_SECONDS if problem else None) if seconds]
    return StepResult(actions=tuple(actions), problem=problem, requeue_after=min(rechecks, default=None))


def _absent(observed: Observed, record: SandboxRecord) -> list[Action]:
    if record.is_claimed:  # it was there; `observe` has looked again, past every cache
        lost = Problem(reason=GONE_DELETED, message=f'Pod "{record.pod_name}" is gone')
        return _report(observed, record.pod_name, None, "gone", lost)
    environment = observed.catalog.environment
    if environment is None:
        text = "the Environment is gone, so no sandbox can be made"
        waiting = Problem(reason=conditions.ENVIRONMENT_NOT_FOUND, message=text)
        return _report(observed, record.pod_name, None, "pending", waiting)
    if not record.is_claimed and (problem := _waits_for_packages(observed)) is not None:
        return _report(observed, record.pod_name, None, "pending", problem)
    claim = workspace_claim_name(observed)
    pod = sandbox_pod_for(
        observed.session,
        environment,
        pod_name=record.pod_name,
        token_sha256=record.token_sha256,
        settings=observed.settings,
        claim=claim,
    )
    actions: list[Action] = [] if observed.is_namespace_ready else [EnsureNamespace(namespace=observed.namespace)]
    workspace = (environment["spec"].get("sandbox") or {}).get("workspace")
    if workspace and claim not in {item["metadata"]["name"] for item in observed.claims}:
        manifest = workspace_claim_for(observed.session, workspace, claim)
        actions.append(CreateChild(resource=CLAIMS, manifest=manifest, owner_uid=observed.uid))
    actions.append(CreateChild(resource=PODS, manifest=pod, owner_uid=observed.uid))
    if (fault := observed.memory.fault) is not None:
        problem = Problem(reason=fault.reason, message=fault.message)
        actions = [*_report(observed, record.pod_name, None, "pending", problem), *actions]
    return actions


def workspace_claim_name(observed: Observed) -> str:
    """Name the claim of the session's workspace: the one of its warm sandbox, or one that is there, or a new one."""
    if observed.summary is not None and observed.summary.workspace is not None:
        return observed.summary.workspace
    own = names.workspace_claim_name_for(observed.name, observed.uid)
    there = [str(claim["metadata"]["name"]) for claim in observed.claims]
    return own if own in there else next(iter(there), own)


def _waits_for_packages(observed: Observed) -> Problem | None:
    environment = observed.catalog.environment
    waiting = packages_refusal(environment, observed.settings) if environment is not None else None
    return None if waiting is None else Problem(reason=waiting.reason, message=waiting.message)


def _present(observed: Observed, pod: PodReading) -> list[Action]:
    if pod.loss is not None:
        return _report(observed, pod.name, pod.uid, "gone", pod.loss)
    if pod.is_running:
        return _report(observed, pod.name, pod.uid, "ready", None, f"{pod.address}:{ports.SUPERVISOR_PORT}")
    starting = Problem(reason=conditions.SANDBOX_STARTING, message="the sandbox Pod is starting")
    return _report(observed, pod.name, pod.uid, "pending", pod.problem or starting)


def _report(
    observed: Observed, name: str, uid: str | None, state: State, problem: Problem | None, address: str | None = None
) -> list[Action]:
    report = ReportSandbox(
        session_id=observed.session_id,
        namespace=observed.namespace,
        pod_name=name,
        pod_uid=uid,
        state=state,
        address=address,
        reason=problem.reason if problem else None,
        message=problem.message if problem else None,
    )
    if report.fingerprint in observed.memory.reported:
        return []
    match state:
        case "pending" if report.reason == conditions.SANDBOX_STARTING:
            told = [announce(observed, conditions.SANDBOX_STARTING, f'Pod "{name}" is made for a tool call')]
        case "pending":
            told = []  # the condition's transition says it
        case "ready":
            told = [announce(observed, conditions.SANDBOX_READY, f'Pod "{name}" can be used')]
        case "gone":
            text = f'Pod "{name}" is lost: {report.reason}: {report.message}'
            told = [announce(observed, conditions.SANDBOX_LOST, text)]
        case _:
            assert_never(state)
    return [report, *told]


def _retire(observed: Observed, pod: PodReading) -> DeleteChild:
    return DeleteChild(resource=PODS, namespace=observed.namespace, name=pod.name, uid=pod.uid)


def _fault_of(observed: Observed) -> Problem | None:
    fault = observed.memory.fault
    return None if fault is None else Problem(reason=fault.reason, message=fault.message)
