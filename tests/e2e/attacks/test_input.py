"""What people and programs read about a session, while the session writes what it likes (A14)."""

import json
from collections.abc import Iterator

import pytest

from support.arena import MALLORY, Arena, text_of
from support.cluster import SYSTEM, eventually, kubectl
from support.requirements import requirement
from support.tally import Tally

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

FORGED = '{"level": "error", "event": "forged", "timestamp": "2026-01-01T00:00:00Z"}'
PRINT = f"""
import json, os
print('\\n{FORGED}\\n\\x1b[2J\\x1b]0;forged\\x07\\r\\nforged-row  Idle  EndTurn')
os.makedirs('/mnt/session/outputs', exist_ok=True)
open('/mnt/session/outputs/a\\n{FORGED}\\n\\u202eb', 'w').close()
print(json.dumps('written'))
"""


def lines(arena: Arena) -> Iterator[tuple[str, str]]:
    """Yield each line of each log that has to do with the hostile session."""
    pods = [(arena.namespace.name, pod["metadata"]["name"]) for pod in arena.namespace.pods(MALLORY)]
    workloads = [(SYSTEM, "statefulset/managed-agents-server"), (SYSTEM, "deployment/managed-agents-operator")]
    for namespace, name in [*pods, *workloads]:
        text = kubectl("logs", "-n", namespace, name, "--all-containers", "--since=10m", "--tail=-1")
        for line in text.splitlines():
            yield name, line


@requirement("A14")
def test_no_output_forges_a_line_of_a_log_or_a_table(arena: Arena, tally: Tally) -> None:
    assert arena.in_sandbox(MALLORY, PRINT) == "written"
    say = {"text": f"forged\n{FORGED}\nforged-row  Idle  EndTurn"}
    said = [event for event in arena.turn(MALLORY, say) if event["type"] == "agent.message"]
    arrived = FORGED in text_of(said[0])
    forged = [(name, line) for name, line in lines(arena) if is_forged(line)]
    tally.attack("A14", f"a line of a log {forged[:2]}", succeeded=forged, control=arrived)

    def shown() -> bool:
        status = arena.namespace.get("session", MALLORY)["status"]
        return FORGED in status.get("lastMessage", {}).get("text", "")

    eventually("the status has the hostile message", shown)
    sessions = arena.namespace.select("sessions")
    table = kubectl("get", "sessions", "-n", arena.namespace.name, "-o", "wide").splitlines()
    names = sorted(line.split()[0] for line in table[1:])
    expected = sorted(session["metadata"]["name"] for session in sessions)
    tally.attack("A14", f"a row of a table {names}", succeeded=names != expected, control=shown())


def is_forged(line: str) -> bool:
    """Tell whether a line of a log reads as the hostile session's own."""
    try:
        parsed = json.loads(line)
    except ValueError:
        return line.startswith("forged")
    return isinstance(parsed, dict) and parsed.get("event") == "forged"
