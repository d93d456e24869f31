"""The checker of the ordering contract finds each breach, and none in a session of ours (API reference §5.7)."""

from collections.abc import Callable
from typing import Any

import pytest

from managed_agents.contracts.events import types
from support.harness import ASKING_TOOLSET, config_for, message, running
from support.models import Answer, text, tool
from support.ordering import violations

Log = list[dict[str, Any]]


async def recorded() -> Log:
    """Record a session with a confirmed tool and a second turn."""
    script = Answer(tool("bash", command="ls")), Answer(text("Listed.")), Answer(text("Again."))
    async with running(*script, config=config_for([ASKING_TOOLSET])) as harness:
        await harness.turn(message("list"))
        (use,) = harness.platform.of(types.AGENT_TOOL_USE)
        await harness.turn({"type": "user.tool_confirmation", "tool_use_id": use["id"], "result": "allow"})
        await harness.turn(message("again"))
        return harness.platform.log()


def without(kind: str) -> Callable[[Log], Log]:
    def change(log: Log) -> Log:
        index = next(index for index, event in enumerate(log) if event["type"] == kind)
        return log[:index] + log[index + 1 :]

    return change


def twice(kind: str) -> Callable[[Log], Log]:
    def change(log: Log) -> Log:
        index = next(index for index, event in enumerate(log) if event["type"] == kind)
        return [*log[: index + 1], log[index] | {"id": "sevt_twice"}, *log[index + 1 :]]

    return change


def changed(kind: str, **fields: Any) -> Callable[[Log], Log]:
    def change(log: Log) -> Log:
        index = next(index for index, event in enumerate(log) if event["type"] == kind)
        return [*log[:index], log[index] | fields, *log[index + 1 :]]

    return change


async def test_session_of_ours_is_clean() -> None:
    assert violations(await recorded()) == []


@pytest.mark.parametrize(
    ("breach", "expected"),
    [
        (without(types.STATUS_RUNNING), "directly after user.message"),
        (without(types.THREAD_RUNNING), "session.status_running directly before span.model_request_start"),
        (without(types.SESSION_USAGE), "session.status_idle directly after session.thread_status_idle"),
        (without(types.REQUEST_END), "session.thread_status_idle within a model request"),
        (without(types.REQUEST_START), "agent.tool_use outside a model request"),
        (without(types.AGENT_TOOL_RESULT), "a model request while"),
        (without(types.USER_TOOL_CONFIRMATION), "nobody confirmed it"),
        (twice(types.AGENT_TOOL_RESULT), "result number 2"),
        (twice(types.STATUS_RUNNING), "session.status_running while running"),
        (changed(types.STATUS_IDLE, stop_reason={"type": "end_turn"}), "have no result"),
        (changed(types.STATUS_IDLE, stop_details={"type": "refusal"}), "stop_details"),
        (changed(types.USER_MESSAGE, processed_at=None), "was never processed"),
        (changed(types.AGENT_TOOL_RESULT, processed_at=None), "has no processed_at"),
        (changed(types.AGENT_TOOL_RESULT, processed_at="2000-01-01T00:00:00Z"), "processed before an earlier event"),
        (changed(types.AGENT_TOOL_RESULT, tool_use_id="sevt_other"), "never used"),
        (changed(types.REQUEST_END, is_error=True), "a failed model request left events"),
    ],
)
async def test_breach_is_found(breach: Callable[[Log], Log], expected: str) -> None:
    log = [event | {"position": index + 1} for index, event in enumerate(breach(await recorded()))]

    assert any(expected in problem for problem in violations(log)), violations(log)


async def test_gap_in_positions_is_found() -> None:
    log = await recorded()

    assert "positions are not 1..n" in violations(log[1:])
