"""A scripted 20-step session ends after all its steps, whatever is killed in its middle (issue acceptance 4)."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from support.cluster import Namespace, eventually, message, script
from support.faults import (
    OPERATOR,
    SERVER,
    Fault,
    kill_component,
    kill_harness_pod,
    kill_sandbox_pod,
    kill_tools_container,
    kill_worker,
)
from support.requirements import requirement

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(420)]

STEPS = 20
COMMAND = "sleep 0.4; echo step {{i}} >> /workspace/steps; echo step {{i}}"
STEP = {"tool": "bash", "input": {"command": COMMAND}, "repeat": STEPS}


def kill_server(namespace: str, session: str) -> None:
    """Delete the server's Pod."""
    kill_component(SERVER)


def kill_operator(namespace: str, session: str) -> None:
    """Delete the operator's Pod."""
    kill_component(OPERATOR)


OWN: tuple[Fault, ...] = (kill_worker, kill_harness_pod, kill_tools_container, kill_sandbox_pod)
"""These hit one session, so four sessions meet one each, at the same time."""

SHARED: tuple[Fault, ...] = (kill_server, kill_operator)


@requirement("F7", "F17", "I5")
def test_session_ends_after_all_steps_when_a_part_of_its_own_is_killed(
    namespace: Namespace, subtests: pytest.Subtests
) -> None:
    with ThreadPoolExecutor(len(OWN)) as pool:
        survivals = {fault.__name__: pool.submit(_survives, namespace, fault) for fault in OWN}
        for name, survival in survivals.items():
            with subtests.test(name):
                survival.result()


@requirement("F1", "F28", "I5")
@pytest.mark.parametrize("fault", SHARED, ids=lambda fault: fault.__name__)
def test_session_ends_after_all_steps_when_a_shared_part_is_killed(namespace: Namespace, fault: Fault) -> None:
    _survives(namespace, fault)


def _survives(namespace: Namespace, fault: Fault) -> None:
    """Run a session into its middle, do the fault to it, and hold it to its end."""
    name = fault.__name__.replace("_", "-")
    namespace.create_session(name, message("first", script(STEP, {"text": "all steps done"})))
    eventually("five steps are done", lambda: _results(namespace.events(name)) >= 5, seconds=120)
    fault(namespace.name, name)
    status = namespace.wait_idle(name, seconds=240)["status"]
    events = eventually("the log can be read", lambda: namespace.events(name), seconds=30)
    assert status["stopReason"] == {"type": "end_turn"}
    assert status["lastMessage"]["text"] == "all steps done"
    assert [event["position"] for event in events] == list(range(1, len(events) + 1))
    uses = [event["id"] for event in events if event["type"] == "agent.tool_use"]
    results = [event["tool_use_id"] for event in events if event["type"] == "agent.tool_result"]
    assert len(uses) == STEPS
    assert results == uses
    failed = [event for event in events if event["type"] == "agent.tool_result" and event.get("is_error")]
    assert len(failed) <= 1, failed


def _results(events: list[dict[str, Any]]) -> int:
    return len([event for event in events if event["type"] == "agent.tool_result"])
