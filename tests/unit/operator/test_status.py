"""The status of a Session: which words, and when it is worth a write."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from managed_agents.operator.actions import WriteStatus
from managed_agents.operator.sessions.admit import admit
from managed_agents.operator.sessions.conditions import Findings
from managed_agents.operator.sessions.decide import decide, status_of
from managed_agents.operator.sessions.model import Memory, Observed
from managed_agents.operator.sessions.provision import put_session
from managed_agents.operator.sessions.status import digest_of, status_for, write_after
from support.operator_values import NOW, observed, session, summary

HELD = session("e0", finalizers=["managedagents.dev/cleanup"])


def current(**changes: Any) -> Observed:
    """A Session whose specification the server knows."""
    seen = observed(session=HELD, **changes)
    put = put_session(seen, admit(seen), NOW)
    assert put is not None
    return replace(seen, memory=replace(seen.memory, put_digest=put.digest))


def idle(seen: Observed) -> tuple[str, str]:
    status = written(seen)
    condition = next(item for item in status["conditions"] if item["type"] == "Idle")
    return condition["status"], condition["reason"]


def written(seen: Observed) -> dict[str, Any]:
    found = [
        action.status for group in status_of(decide(seen, NOW)) for action in group if isinstance(action, WriteStatus)
    ]
    assert found
    return found[0]


ERROR = {"type": "model_overloaded_error", "reason": "ModelOverloaded", "message": "529", "retry_status": "retrying"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"delivered": ["e0"]}, ("True", "EndTurn")),
        ({"delivered": ["e0"], "stop_reason": None, "head": 0}, ("True", "NoEvents")),
        ({"delivered": ["e0"], "stop_reason": {"type": "requires_action"}}, ("True", "RequiresAction")),
        ({"delivered": ["e0"], "stop_reason": {"type": "novel"}}, ("True", "Stopped")),
        ({"delivered": ["e0"], "status": "terminated", "stop_reason": None}, ("True", "Terminated")),
        ({"rejected": [{"name": "e0", "reason": "Invalid", "message": "no"}]}, ("True", "EndTurn")),
        ({"delivered": []}, ("False", "StartingHarness")),
        ({"delivered": ["e0"], "wanted": True}, ("False", "StartingHarness")),
        ({"delivered": ["e0"], "wanted": True, "status": "running"}, ("False", "Running")),
        (
            {"delivered": ["e0"], "wanted": True, "status": "rescheduling", "last_error": ERROR},
            ("False", "ModelOverloaded"),
        ),
    ],
)
def test_idle_says_what_is_waited_for(changes: dict[str, Any], expected: tuple[str, str]) -> None:
    assert idle(current(summary=summary(**changes))) == expected


def test_undelivered_specification_is_never_idle() -> None:
    assert idle(observed(session=HELD, summary=summary(delivered=["e0"])))[0] == "False"


def test_exhausted_retries_stall_with_their_cause() -> None:
    stop = {"type": "retries_exhausted"}
    status = written(current(summary=summary(delivered=["e0"], stop_reason=stop, last_error=ERROR)))
    stalled = next(item for item in status["conditions"] if item["type"] == "Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "ModelOverloaded")


def test_status_holds_no_null_and_sums_tokens() -> None:
    usage = {
        "input_tokens": 10,
        "output_tokens": 5,
        "cache_read_input_tokens": 3,
        "cache_creation": {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 0},
        "list_cost": None,
        "active_seconds": 1.4,
    }
    status = written(current(summary=summary(delivered=["e0"], usage=usage)))
    assert status["usage"] == {
        "inputTokens": 10,
        "outputTokens": 5,
        "cacheReadInputTokens": 3,
        "cacheCreation": {"ephemeral5mInputTokens": 2, "ephemeral1hInputTokens": 0},
        "totalTokens": 20,
    }
    assert status["activeSeconds"] == 1
    assert None not in status.values()


def running(head: int, status: dict[str, Any] | None, seconds: float, since: float) -> float | None:
    """When to write a status of a turn that has run `seconds`, written `since` seconds ago."""
    started = (NOW - timedelta(seconds=seconds)).isoformat()
    told = summary(delivered=["e0"], wanted=True, status="running", head=head, status_since=started)
    seen = current(summary=told)
    memory = replace(seen.memory, status_written_at=NOW - timedelta(seconds=since))
    seen = replace(seen, memory=memory, session={**HELD, "status": status} if status else HELD)
    findings = Findings(admission=admit(seen), problem=None, is_put_current=True)
    return write_after(seen, status_for(seen, findings, NOW), NOW)


def test_progress_is_written_at_doubling_intervals() -> None:
    seen = current(summary=summary(delivered=["e0"], wanted=True, status="running"))
    findings = Findings(admission=admit(seen), problem=None, is_put_current=True)
    before = status_for(seen, findings, NOW)
    assert running(4, before, 10, 3) is None
    assert running(5, before, 1, 0.5) == 1.5
    assert running(5, before, 10, 3) == 7
    assert running(5, before, 10, 11) == 0
    assert running(5, before, 1000, 30) == 30


def test_transition_time_moves_with_the_truth_alone() -> None:
    first = written(current(summary=summary(delivered=["e0"])))
    seen = current(summary=summary(delivered=["e0"], stop_reason={"type": "refusal"}))
    old = [{**item, "lastTransitionTime": "2020-01-01T00:00:00Z"} for item in first["conditions"]]
    seen = replace(seen, session={**HELD, "status": {**first, "conditions": old}})
    after = {item["type"]: item for item in written(seen)["conditions"]}
    assert after["Idle"]["reason"] == "Refusal"
    assert after["Idle"]["lastTransitionTime"] == "2020-01-01T00:00:00Z"


def test_memory_is_what_keeps_a_pruned_status_from_being_written_again() -> None:
    seen = current(summary=summary(delivered=["e0"]))
    findings = Findings(admission=admit(seen), problem=None, is_put_current=True)
    status = status_for(seen, findings, NOW)
    assert write_after(seen, status, NOW) == 0
    assert write_after(replace(seen, memory=Memory(status_digest=digest_of(status))), status, NOW) is None
