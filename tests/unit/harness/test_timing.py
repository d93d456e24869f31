"""What a harness tells of the steps that only it sees: in order, once, and as how long ago."""

import asyncio

from managed_agents.contracts import causes
from managed_agents.contracts.turn_timing import MARKS_MAX, Step
from managed_agents.harness.retry import ModelFailureError
from managed_agents.harness.timing import Stopwatch
from managed_agents.harness.tools.hand import ToolResult
from support.clock import ManualClock
from support.harness import INTERRUPT, Harness, message, running
from support.models import Answer, text, tool
from support.requirements import requirement

OPENING = "session.status_running+session.thread_status_running+span.model_request_start"
START = "span.model_request_start"
CLOSING = "session.thread_status_idle+session.usage+session.status_idle"
ANSWERED = ["t5", "t6", "t7", "t8"]


def told(harness: Harness) -> list[tuple[str, list[str]]]:
    """Return what each append told, by the names of its steps."""
    return [(kinds, [step for step, _ in timing]) for kinds, timing in harness.platform.told]


@requirement("turn-times")
async def test_each_append_tells_the_steps_since_the_one_before() -> None:
    async with running(Answer(tool("bash", command="ls")), Answer(text("Listed."))) as harness:
        harness.sandbox.results["bash"] = ToolResult(content=[{"type": "text", "text": "a"}], run_seconds=0.0)
        await harness.turn(message("list"))
        assert told(harness) == [
            (OPENING, ["t3"]),
            ("agent.tool_use+span.model_request_end", ANSWERED),
            ("agent.tool_result", ["t10", "t11", "t12", "t13"]),
            (START, ["t3"]),
            ("agent.message+span.model_request_end", ANSWERED),
            (CLOSING, []),
        ]
        for _, timing in harness.platform.told:
            ago = [milliseconds for _, milliseconds in timing]
            assert ago == sorted(ago, reverse=True)
            assert all(0 <= milliseconds < 5000 for milliseconds in ago)


async def test_a_pause_and_a_response_without_content_are_told() -> None:
    overloaded = ModelFailureError(cause=causes.MODEL_OVERLOADED, message="Overloaded.")
    async with running(Answer(text("Hello.")), failures={0: [overloaded]}) as harness:
        await harness.turn(message("hi"))
        steps = [steps for _, steps in told(harness)]
        assert steps == [["t3"], ["t5", "t6", "t8"], ["pause", "t3"], ANSWERED, []]


async def test_a_call_that_is_interrupted_or_never_gets_a_sandbox_took_its_time_too() -> None:
    async def gate(point: str) -> None:
        if point == "during execute":
            await harness.platform.send(INTERRUPT)
            await asyncio.Event().wait()

    async with running(Answer(tool("bash", command="sleep 1000")), gate=gate) as harness:
        await harness.turn(message("sleep"))
        assert told(harness)[-1][1] == ["t10", "t13", "t13"]
    async with running(Answer(tool("bash", command="ls"))) as harness:
        harness.sandbox.unavailable = "no node has room"
        await harness.turn(message("list"))
        assert ("agent.tool_result", ["t10"]) in told(harness)


def test_a_run_lies_in_the_middle_of_its_call() -> None:
    clock = ManualClock()
    stopwatch = Stopwatch(clock.monotonic)
    stopwatch.tool_sent()
    clock.advance(1.0)
    stopwatch.tool_answered(run_seconds=0.5)
    clock.advance(0.25)
    assert stopwatch.told() == [("t10", 1250.0), ("t11", 1000.0), ("t12", 500.0), ("t13", 250.0)]


def test_a_run_that_says_it_took_longer_than_its_call_took_all_of_it() -> None:
    clock = ManualClock()
    stopwatch = Stopwatch(clock.monotonic)
    stopwatch.tool_sent()
    clock.advance(1.0)
    stopwatch.tool_answered(run_seconds=3600.0)
    assert stopwatch.told() == [("t10", 1000.0), ("t11", 1000.0), ("t12", 0.0), ("t13", 0.0)]


def test_steps_that_nobody_takes_are_bounded_and_those_told_are_dropped() -> None:
    stopwatch = Stopwatch()
    for _ in range(MARKS_MAX + 5):
        stopwatch.mark(Step.CONTEXT)
    assert len(stopwatch.told()) == MARKS_MAX
    stopwatch.forget(MARKS_MAX - 1)
    assert [step for step, _ in stopwatch.told()] == ["t3"]
