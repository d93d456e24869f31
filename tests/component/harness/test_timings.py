"""The record of a turn on the whole message path: every process tells its part, and the parts add up."""

from pathlib import Path
from typing import Any

from support.requirements import requirement
from support.stack import Stack, script, stack_running


async def newest(stack: Stack) -> dict[str, Any]:
    status, answer = await stack.server.user("GET", f"/sessions/{stack.session}/timings?limit=1")
    assert status == 200, answer
    timing: dict[str, Any] = answer["data"][0]
    return timing


@requirement("turn-times")
async def test_every_step_of_a_turn_is_told_and_its_cause_shows(tmp_path: Path) -> None:
    async with stack_running(tmp_path) as stack:
        stack.start_worker()
        slow = {"tool": "bash", "input": {"command": "sleep 0.4"}, "first_token_delay_seconds": 0.3}
        summary = await stack.turn(script(slow, {"text": "Done.", "first_token_delay_seconds": 0.2}))
        timing = await newest(stack)

    assert summary["stop_reason"] == {"type": "end_turn"}
    steps, segments = timing["steps"], timing["segments"]
    assert set(steps) == {f"t{number}" for number in range(1, 17)}
    assert [step["count"] for step in (steps["t6"], steps["t12"], steps["t15"])] == [2, 1, 1]
    assert 400 <= steps["t12"]["sum_ms"] <= segments["tools"]
    assert segments["first_token"] >= 500
    assert steps["t6"]["max_ms"] >= 300
    assert abs(sum(segments.values()) - timing["total_ms"]) < 0.01
    assert abs(steps["t16"]["at_ms"] - timing["total_ms"]) < 0.01
    at = [steps[f"t{number}"]["at_ms"] for number in range(1, 17)]
    assert at == sorted(at)


async def test_a_model_that_is_asked_again_shows_its_pause(tmp_path: Path) -> None:
    async with stack_running(tmp_path) as stack:
        stack.start_worker()
        error = {"status": 529, "type": "overloaded_error", "message": "Overloaded"}
        await stack.turn(script({"error": error, "times": 1}, {"text": "At last."}))
        timing = await newest(stack)
    assert timing["steps"]["pause"]["count"] == 1
    assert timing["segments"]["retry_wait"] > 0
    assert timing["steps"]["t8"]["count"] == 2
