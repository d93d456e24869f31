"""Twenty Sessions applied at once all end right (issue acceptance 5)."""

import json
import time
from statistics import median

import pytest

from support.cluster import Namespace, eventually, kubectl, managed, message, script
from support.left_sessions import require_order
from support.requirements import requirement

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

SESSIONS = 20
WRITES_MAX = 16
"""Writes of the operator in a session's life, Kubernetes Events apart (bench B17)."""


@requirement("burst")
def test_twenty_sessions_applied_at_once_all_end_right(
    namespace: Namespace, capsys: pytest.CaptureFixture[str]
) -> None:
    def spec(number: int) -> dict[str, object]:
        step = {"tool": "bash", "input": {"command": f"echo session {number}"}}
        events = [message("first", script(step, {"text": "{{last_tool_result}}"}))]
        return {"agentRef": {"name": "bot"}, "environmentRef": {"name": "box"}, "events": events}

    started = time.monotonic()
    namespace.apply(*(managed("Session", f"burst-{number}", spec(number)) for number in range(SESSIONS)))
    for number in range(SESSIONS):
        status = namespace.wait_idle(f"burst-{number}", seconds=500)["status"]
        assert status["lastMessage"]["text"].strip() == f"session {number}"
        assert status["stopReason"] == {"type": "end_turn"}
    seconds = time.monotonic() - started
    require_order(namespace.client)
    kubectl("delete", "-n", namespace.name, "sessions", "--all", "--timeout=60s")
    writes = eventually("the operator has told its writes", lambda: _writes(namespace.name), seconds=30)
    with capsys.disabled():
        print(
            f"\n{SESSIONS} sessions applied at once, each with a sandbox, all ended right after {seconds:.1f} s; "
            f"operator writes per session life: median {median(writes):.0f}, most {max(writes)}"
        )
    assert max(writes) <= WRITES_MAX


def _writes(namespace: str) -> list[int] | None:
    """Return the operator's own count for each session of the burst, from its log, once all are there."""
    log = kubectl("logs", "-n", "managed-agents-system", "deployment/managed-agents-operator", "--tail=2000")
    lines = [json.loads(line) for line in log.splitlines() if '"session_removed"' in line]
    counts = [line["operator_writes"] for line in lines if line["namespace"] == namespace]
    return counts if len(counts) >= SESSIONS else None
