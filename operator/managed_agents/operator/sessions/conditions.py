"""The conditions of a Session, from what was observed and what the steps found. Pure.

`Idle` is true for a generation only when every event of it has been processed, else `kubectl wait` would lie.
"""

from dataclasses import dataclass

from managed_agents.contracts.api import conditions as words
from managed_agents.operator.conditions import Condition
from managed_agents.operator.pools.sizing import Bounds
from managed_agents.operator.sessions.admit import Admission, Refusal
from managed_agents.operator.sessions.isolation import isolation_for
from managed_agents.operator.sessions.model import Fault, Observed
from managed_agents.operator.sessions.pod_state import Problem
from managed_agents.operator.sessions.provision import is_delivered
from managed_agents.operator.sessions.run import waits_for_turn
from managed_agents.operator.sessions.tokens import credentials_for
from managed_agents.operator.summaries import Summary

_FAILED_STOPS = frozenset({"retries_exhausted"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What the steps found: the verdict on the references, and what keeps harness or sandbox from coming up."""

    admission: Admission | Refusal
    problem: Problem | None
    is_put_current: bool
    """The server has answered to exactly what this generation says."""


def conditions_for(observed: Observed, findings: Findings) -> list[Condition]:
    """Return `Ready`, `Idle`, `Reconciling`, `Stalled`, and what else there is to say, in that order."""
    ready, idle = ready_for(observed, findings), idle_for(observed, findings)
    isolated = isolation_for(observed)
    found = [ready, idle, _reconciling(observed, findings), _stalled(observed, findings)]
    credentials = credentials_for(observed)
    return [*found, *(one for one in (isolated, credentials) if one is not None)]


def ready_for(observed: Observed, findings: Findings) -> Condition:
    """Accepted and runnable, also with 0 Pods."""
    if observed.is_terminated:
        return _condition(words.READY, False, words.TERMINATED, _end_of(observed))
    match findings.admission:
        case Refusal(reason=reason, message=message):
            return _condition(words.READY, False, reason, message)
        case Admission() if (fault := _refused_by_server(observed)) is not None:
            return _condition(words.READY, False, fault.reason, fault.message)
        case Admission():
            return _condition(words.READY, True, words.ACCEPTED, "all references resolve; the session can run")


def _refused_by_server(observed: Observed) -> Fault | None:
    """Return why the server never took the session in: a file that the namespace does not have."""
    fault = observed.memory.fault
    return fault if observed.summary is None and fault is not None and fault.reason == words.REFUSED else None


def idle_for(observed: Observed, findings: Findings) -> Condition:
    """Say what the session waits for, or that it waits for its user."""
    summary = observed.summary
    if observed.is_terminated:
        return _condition(words.IDLE, True, words.TERMINATED, _end_of(observed))
    if summary is not None and _is_idle(observed, findings, summary):
        return _at_rest(summary)
    reason, message = _waits_for(observed, findings, summary)
    return _condition(words.IDLE, False, reason, message)


def is_idle(observed: Observed, findings: Findings) -> bool:
    """Tell whether every event of the generation is processed and nothing runs."""
    return observed.summary is not None and _is_idle(observed, findings, observed.summary)


def _is_idle(observed: Observed, findings: Findings, summary: Summary) -> bool:
    return findings.is_put_current and is_delivered(observed) and summary.status == "idle" and not summary.wanted


def _at_rest(summary: Summary) -> Condition:
    if summary.stop_reason is None:
        return _condition(words.IDLE, True, words.NO_EVENTS, "no event has been processed yet")
    stop = str(summary.stop_reason["type"])
    reason = words.IDLE_REASONS.get(stop, words.UNKNOWN_STOP)
    match stop:
        case "requires_action":
            tools = ", ".join(sorted({str(item.get("tool")) for item in summary.requires_action}))
            message = f"{len(summary.requires_action)} tool use(s) wait for your answer: {tools}"
        case "retries_exhausted" if summary.last_error is not None:
            message = f"gave up: {summary.last_error.reason}: {summary.last_error.message}"
        case _:
            message = f"the turn ended ({stop}); send another event to go on"
    return _condition(words.IDLE, True, reason, message)


def _waits_for(observed: Observed, findings: Findings, summary: Summary | None) -> tuple[str, str]:
    if isinstance(findings.admission, Refusal) and (summary is None or not summary.wanted):
        return findings.admission.reason, findings.admission.message
    if (fault := observed.memory.fault) is not None:
        return fault.reason, fault.message
    if summary is None or not findings.is_put_current:
        return words.DELIVERING, "the specification and its events are on their way to the server"
    if summary.last_error is not None:
        return summary.last_error.reason, f"{summary.last_error.message} ({summary.last_error.retry_status})"
    if findings.problem is not None:
        return findings.problem.reason, findings.problem.message
    if summary.status in ("running", "rescheduling"):
        return words.RUNNING, "a turn is open"
    if waits_for_turn(observed):
        return words.STARTING_HARNESS, "no warm harness is free, so input waits its turn: others start before it"
    if summary.needs_pod and Bounds.of((observed.catalog.environment or {"spec": {}})["spec"].get("harness")).most:
        return words.STARTING_HARNESS, "no warm harness is free, so input waits for a Pod of its own to start"
    return words.STARTING_HARNESS, "input waits for its harness"


def _reconciling(observed: Observed, findings: Findings) -> Condition:
    if isinstance(findings.admission, Refusal) and observed.summary is None:
        refusal = findings.admission
        return _condition(words.RECONCILING, refusal.is_waiting, refusal.reason, refusal.message)
    if (fault := observed.memory.fault) is not None:
        return _condition(words.RECONCILING, True, fault.reason, fault.message)
    if not findings.is_put_current:
        return _condition(words.RECONCILING, True, words.DELIVERING, "the newest generation is on its way")
    return _condition(words.RECONCILING, False, words.CURRENT, "the newest generation is in effect")


def _stalled(observed: Observed, findings: Findings) -> Condition:
    summary = observed.summary
    if isinstance(findings.admission, Refusal) and not findings.admission.is_waiting and not observed.is_terminated:
        return _condition(words.STALLED, True, findings.admission.reason, findings.admission.message)
    if findings.problem is not None:
        return _condition(words.STALLED, True, findings.problem.reason, findings.problem.message)
    stop = (summary.stop_reason or {}).get("type") if summary is not None and not summary.wanted else None
    if summary is not None and summary.last_error is not None and stop in _FAILED_STOPS:
        return _condition(words.STALLED, True, summary.last_error.reason, summary.last_error.message)
    return _condition(words.STALLED, False, words.PROGRESSING, "nothing stands in the way")


def _end_of(observed: Observed) -> str:
    if observed.session["spec"].get("archived"):
        return "the session is archived and takes no more events"
    return "the session has ended and takes no more events"


def _condition(kind: str, is_true: bool, reason: str, message: str) -> Condition:
    return Condition(kind=kind, is_true=is_true, reason=reason, message=message)
