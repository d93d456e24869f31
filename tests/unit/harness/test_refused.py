"""What cannot be written or read is not tried for ever: the turn ends with an error (guarantee F10)."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from managed_agents.contracts.errors import RejectedError
from managed_agents.contracts.events import types
from support.hands import text_result
from support.harness import Harness, exhausted_readings, message
from support.invariants import check_log
from support.models import Answer, text, tool
from support.requirements import requirement

SCRIPT = Answer(tool("bash", command="ls")), Answer(text("I see."))


def refusing(harness: Harness, is_refused: Callable[[Any], bool]) -> Harness:
    """Let the platform refuse appends with an event like that."""
    emit = harness.platform.emit

    async def checked(connection: Any, epoch: int, events: Any, **rest: Any) -> Any:
        if any(is_refused(event) for event in events):
            raise RejectedError("the body is too large: 413")
        return await emit(connection, epoch, events, **rest)

    harness.platform.emit = checked  # type: ignore[method-assign] # a stand-in
    return harness


@requirement("F10")
async def test_result_that_cannot_be_stored_is_an_error_result() -> None:
    harness = refusing(Harness(SCRIPT), lambda event: len(str(event)) > 10_000)
    harness.sandbox.results["bash"] = text_result("x" * 20_000)
    harness.start()
    idle = await harness.turn(message("go"))
    await harness.stop()

    assert idle["stop_reason"] == {"type": "end_turn"}
    (result,) = harness.platform.of(types.AGENT_TOOL_RESULT)
    assert result["is_error"]
    assert "can not be kept" in result["content"][0]["text"]
    assert "413" in result["content"][0]["text"]
    check_log(harness.platform.log(), harness.platform.epochs)


@requirement("F10")
async def test_response_that_cannot_be_stored_ends_the_turn() -> None:
    harness = refusing(Harness([Answer(text("x" * 20_000))]), lambda event: len(str(event)) > 10_000)
    harness.start()
    idle = await harness.turn(message("go"))

    assert idle["stop_reason"] == {"type": "retries_exhausted"}
    (error,) = harness.platform.of(types.SESSION_ERROR)
    assert error["error"]["type"] == "unknown_error"
    assert error["error"]["retry_status"] == {"type": "exhausted"}
    assert len(harness.model.requests) == 1
    check_log(harness.platform.log(), harness.platform.epochs)

    harness.model.answers = [Answer(text("Short."))]
    assert (await harness.turn(message("again")))["stop_reason"] == {"type": "end_turn"}
    await harness.stop()


async def test_worker_ends_when_even_the_end_of_a_turn_is_refused() -> None:
    harness = refusing(Harness(SCRIPT), lambda event: event["type"] == types.STATUS_IDLE)
    worker = harness.start()
    await harness.platform.send(message("go"))
    with pytest.raises(RejectedError):
        await worker
    await harness.stop()


@requirement("F10")
async def test_worker_that_gives_up_ends_the_turn_and_leaves_at_the_next_input() -> None:
    reached = asyncio.Event()

    async def gate(point: str) -> None:
        if point == "during execute" and not reached.is_set():
            reached.set()
            await asyncio.Event().wait()

    harness = Harness([*SCRIPT, Answer(text("Fresh."))], gate=gate)
    harness.start()
    await harness.platform.send(message("go"))
    async with asyncio.timeout(5):
        await reached.wait()
    await harness.kill()

    worker = harness.start(readings=exhausted_readings())
    idle = await harness.idle()
    assert idle["stop_reason"] == {"type": "retries_exhausted"}
    (error,) = harness.platform.of(types.SESSION_ERROR)
    assert error["error"]["retry_status"] == {"type": "exhausted"}
    check_log(harness.platform.log(), harness.platform.epochs)

    assert not worker.done()
    await harness.platform.send(message("again"))
    await asyncio.wait([worker], timeout=5)
    assert worker.done()
    assert not harness.platform.released
    await harness.stop()
    harness.start()
    assert (await harness.idle())["stop_reason"] == {"type": "end_turn"}
    await harness.stop()
