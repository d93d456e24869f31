"""One reconcile of a Session: the steps in order, then the status. Pure: no I/O, no clock, no randomness."""

from datetime import datetime

from managed_agents.contracts.api import conditions
from managed_agents.kube.resources import SESSIONS
from managed_agents.operator.actions import Action, WriteStatus
from managed_agents.operator.conditions import paused_status
from managed_agents.operator.sessions.admit import Admission, Refusal, admit
from managed_agents.operator.sessions.adopt import adopt_sandbox
from managed_agents.operator.sessions.announcements import (
    memory_announcements,
    memory_kills,
    transition_announcements,
)
from managed_agents.operator.sessions.conditions import Findings
from managed_agents.operator.sessions.finalize import finalize
from managed_agents.operator.sessions.idle import go_idle
from managed_agents.operator.sessions.model import Decision, Observed, StepResult, condition_of
from managed_agents.operator.sessions.provision import event_names, expire, provision, put_session
from managed_agents.operator.sessions.run import PACKAGES_RECHECK_SECONDS, PROBLEM_RECHECK_SECONDS, run
from managed_agents.operator.sessions.sandbox import see_to_sandbox
from managed_agents.operator.sessions.status import status_for, write_after


def decide(observed: Observed, now: datetime) -> Decision:
    """Return what to do now, group by group, and when to look again if nothing happens."""
    if observed.is_deleting:
        return _decision([finalize(observed, now)])
    if observed.is_paused:
        return _paused(observed, now)
    admission = admit(observed)
    steps = _steps(observed, admission, now)
    problem = next((step.problem for step in steps if step.problem is not None), None)
    findings = Findings(admission=admission, problem=problem, is_put_current=_is_put_current(observed, admission, now))
    return _decision([*steps, _status(observed, findings, now)])


def _steps(observed: Observed, admission: Admission | Refusal, now: datetime) -> list[StepResult]:
    provisioned = provision(observed, admission, now)
    if observed.summary is None:
        # only a Session that may become one of ours gets the finalizer: a refused one leaves nothing to clean up
        return [_recheck(admission)] if isinstance(admission, Refusal) else [provisioned]
    told = memory_announcements(observed, memory_kills(observed))
    return [
        provisioned,
        expire(observed, now),
        run(observed),
        adopt_sandbox(observed),
        see_to_sandbox(observed),
        go_idle(observed, now),
        StepResult(actions=tuple(told)),
    ]


def _recheck(refusal: Refusal) -> StepResult:
    """ConfigMaps and Jobs are not watched, so these are looked for; everything else comes with an event."""
    match refusal.reason:
        case conditions.PACKAGES_PENDING:
            return StepResult(requeue_after=PACKAGES_RECHECK_SECONDS)
        case conditions.CONFIG_MAP_NOT_FOUND | conditions.PACKAGES_FAILED:
            return StepResult(requeue_after=PROBLEM_RECHECK_SECONDS)
        case _:
            return StepResult()


def _is_put_current(observed: Observed, admission: Admission | Refusal, now: datetime) -> bool:
    put = put_session(observed, admission, now)
    if put is None:  # refused: nothing is owed if nothing new is asked for
        return observed.summary is not None and event_names(observed) <= observed.summary.processed_names
    return put.digest == observed.memory.put_digest


def _status(observed: Observed, findings: Findings, now: datetime) -> StepResult:
    status = status_for(observed, findings, now)
    after = write_after(observed, status, now)
    if after is None:
        return StepResult()
    if after > 0:
        return StepResult(requeue_after=after)
    write = WriteStatus(resource=SESSIONS, owner=observed.session, status=status)
    return StepResult(actions=(write, *transition_announcements(observed, status)))


def _paused(observed: Observed, now: datetime) -> Decision:
    known = condition_of(observed.session, conditions.RECONCILING) or {}
    generation = int(observed.session["metadata"]["generation"])
    if known.get("reason") == conditions.PAUSED and known.get("observedGeneration") == generation:
        return Decision()
    status = {"id": observed.session_id} | paused_status(observed.session, now)
    return Decision(groups=((WriteStatus(resource=SESSIONS, owner=observed.session, status=status),),))


def _decision(steps: list[StepResult]) -> Decision:
    requeues = [step.requeue_after for step in steps if step.requeue_after is not None]
    groups = tuple(step.actions for step in steps if step.actions)
    return Decision(groups=groups, requeue_after=max(min(requeues), 0.0) if requeues else None)


def effects_of(decision: Decision) -> tuple[tuple[Action, ...], ...]:
    """Return the groups that change more than the status."""
    return tuple(group for group in decision.groups if not _is_status(group))


def status_of(decision: Decision) -> tuple[tuple[Action, ...], ...]:
    """Return the status and its announcements: written once, after the last effect of a reconcile."""
    return tuple(group for group in decision.groups if _is_status(group))


def _is_status(group: tuple[Action, ...]) -> bool:
    return any(isinstance(action, WriteStatus) for action in group)
