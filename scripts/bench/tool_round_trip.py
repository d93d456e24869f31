"""B11: tool use logged → its result logged, for `true`; floor: `bash -c true` started on this machine."""

import subprocess
import time
from typing import Any

from bench.stats import Row
from managed_agents.contracts.clock import parse_rfc3339
from support.cluster import Namespace, message, script

WARM_UP = 3


def measure(namespace: Namespace, *, calls: int) -> Row:
    """Run one session of that many tool calls and read both moments of each from its log: one clock, the server's."""
    step = {"tool": "bash", "input": {"command": "true"}, "repeat": calls + WARM_UP}
    namespace.create_session("tools", message("first", script(step, {"text": "done"})))
    namespace.wait_idle("tools", seconds=300)
    events = namespace.events("tools")
    started = {event["id"]: _moment(event) for event in events if event["type"] == "agent.tool_use"}
    results = [event for event in events if event["type"] == "agent.tool_result"]
    samples = [(_moment(event) - started[event["tool_use_id"]]) * 1000 for event in results]
    return Row(
        name="tool round trip: use logged → result logged",
        samples=samples[WARM_UP:],
        floor_name="bash -c true, started here",
        floor=[_local() for _ in range(calls)],
    )


def _moment(event: dict[str, Any]) -> float:
    return parse_rfc3339(event["processed_at"]).timestamp()


def _local() -> float:
    started = time.perf_counter()
    subprocess.run(["bash", "-c", "true"], check=True)
    return (time.perf_counter() - started) * 1000
