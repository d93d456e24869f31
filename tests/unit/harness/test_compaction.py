"""Compaction: near the window's end the conversation gets smaller, the log does not (API reference §6.5, F15)."""

import asyncio
from typing import Any

import orjson
import pytest

from managed_agents.contracts.events import types
from managed_agents.harness.history.fold import fold
from managed_agents.harness.history.state import State
from managed_agents.harness.retry import failure_for
from support.hands import text_result
from support.harness import TOOLSET, Harness, config_for, message, running
from support.invariants import check_log
from support.models import Answer, text, tool
from support.requirements import requirement

FULL = {"input_tokens": 9_500}
SUMMARY = Answer(text("They want a list. I ran ls."))
TOO_LONG = failure_for(400, {"type": "invalid_request_error", "message": "prompt is too long: 201 > 200"}, {})


def small_window(tokens: int = 10_000, **changes: Any) -> dict[str, Any]:
    provider = {"name": "simulated", "list_price": None, "context_window_tokens": tokens}
    return config_for([TOOLSET], model_provider=provider, **changes)


def in_order(harness: Harness) -> Harness:
    """Let the n-th request get the n-th answer: a compacted conversation does not tell how long it was."""

    def index_of(_: object) -> int:
        return len(harness.model.requests) - 1

    harness.model.index_of = index_of  # type: ignore[method-assign,assignment] # a stand-in
    return harness


async def test_full_window_is_summarised_and_the_turn_goes_on() -> None:
    script = Answer(text("Running."), tool("bash", command="ls"), usage=FULL), SUMMARY, Answer(text("Listed."))
    async with running(*script, config=small_window()) as harness:
        in_order(harness)
        idle = await harness.turn(message("list"))

        assert idle["stop_reason"] == {"type": "end_turn"}
        assert harness.platform.commits[-5:-2] == [
            [types.REQUEST_START],
            [types.REQUEST_END, types.CONTEXT_COMPACTED],
            [types.REQUEST_START],
        ]
        _, asked, after = harness.model.bodies()
        assert asked["tool_choice"] == {"type": "none"}
        assert "summary" in asked["messages"][-1]["content"][-1]["text"]
        assert [item["role"] for item in after["messages"]] == ["user", "assistant", "user"]
        assert "They want a list. I ran ls." in after["messages"][0]["content"][0]["text"]
        assert after["messages"][1]["content"][-1]["name"] == "bash"
        assert after["messages"][2]["content"][0]["content"] == [text("ran ls")]
        assert [event["content"][0]["text"] for event in harness.platform.of(types.AGENT_MESSAGE)] == [
            "Running.",
            "Listed.",
        ]
        (usage,) = harness.platform.of(types.SESSION_USAGE)
        assert usage["usage"]["input_tokens"] == 9_500 + 10 + 10
        check_log(harness.platform.log(), harness.platform.epochs)


async def test_next_turn_begins_with_the_summary_and_keeps_system_turns() -> None:
    said = {"type": "system.message", "content": [text("Be brief.")]}
    script = Answer(text("Long."), usage=FULL), SUMMARY, Answer(text("Short."))
    async with running(*script, config=small_window()) as harness:
        in_order(harness)
        await harness.turn(message("tell"), said)
        await harness.turn(message("more"))

        last = harness.model.bodies()[-1]["messages"]
        assert [item["role"] for item in last] == ["user", "system"]
        assert last[0]["content"][-1]["text"] == "more"
        assert last[1]["content"] == [text("Be brief.")]


@requirement("F15")
@pytest.mark.parametrize(
    "point",
    [
        f"before {types.REQUEST_START}",
        f"after {types.REQUEST_START}",
        f"before {types.REQUEST_END}+{types.CONTEXT_COMPACTED}",
        f"after {types.REQUEST_END}+{types.CONTEXT_COMPACTED}",
    ],
)
async def test_worker_killed_at_any_step_of_a_compaction_is_replaced(point: str) -> None:
    reached = asyncio.Event()

    async def gate(crossed: str) -> None:
        if crossed == point and not reached.is_set():
            reached.set()
            await asyncio.Event().wait()

    def index_of(body: dict[str, Any]) -> int:
        if "tool_choice" in body:
            return 1
        return 2 if "compacted" in orjson.dumps(body["messages"][0]).decode() else 0

    script = Answer(tool("bash", command="ls"), usage=FULL), SUMMARY, Answer(text("Listed."))
    harness = Harness(script, config=small_window(), gate=gate)
    harness.model.index_of = index_of  # type: ignore[assignment] # a stand-in
    harness.start()
    await harness.platform.send(message("list"))
    async with asyncio.timeout(5):
        await reached.wait()
    before = harness.platform.log()
    await harness.kill()
    harness.start()
    await harness.idle()
    await harness.stop()

    check_log(harness.platform.log(), harness.platform.epochs)
    assert harness.platform.log()[: len(before)] == before
    assert len(harness.platform.of(types.CONTEXT_COMPACTED)) == 1
    assert harness.platform.of(types.AGENT_MESSAGE)[-1]["content"] == [text("Listed.")]
    rebuilt = fold(State(), harness.platform.log()).conversation.messages()
    assert b"They want a list." in rebuilt[0]


async def test_conversation_that_the_model_finds_too_long_is_compacted_and_asked_again() -> None:
    script = Answer(tool("bash", command="ls")), Answer(text("unused")), SUMMARY, Answer(text("Listed."))
    async with running(*script, config=small_window(1_000_000), failures={1: [TOO_LONG]}) as harness:
        in_order(harness)
        idle = await harness.turn(message("list"))

        assert idle["stop_reason"] == {"type": "end_turn"}
        assert harness.platform.of(types.SESSION_ERROR) == []
        assert len(harness.platform.of(types.CONTEXT_COMPACTED)) == 1
        assert harness.platform.of(types.AGENT_MESSAGE)[-1]["content"] == [text("Listed.")]


async def test_conversation_that_stays_too_large_meets_the_limit_and_the_next_message_works() -> None:
    script = [Answer(tool("bash", command="ls"), usage=FULL), *[SUMMARY] * 3, Answer(text("Fresh."))]
    async with running(*script, config=small_window(40)) as harness:
        in_order(harness)
        idle = await harness.turn(message("tell"))

        assert idle["stop_reason"] == {"type": "retries_exhausted"}
        (error,) = harness.platform.of(types.SESSION_ERROR)
        assert error["error"]["type"] == "compaction_limit_reached_error"
        assert error["error"]["retry_status"] == {"type": "exhausted"}
        assert len(harness.platform.of(types.CONTEXT_COMPACTED)) == 3
        await harness.platform.configure(model_provider=small_window()["model_provider"])
        assert (await harness.turn(message("again")))["stop_reason"] == {"type": "end_turn"}


async def test_first_message_that_exceeds_the_window_is_taken_back() -> None:
    async with running(Answer(text("Hi.")), config=small_window(), failures={0: [TOO_LONG]}) as harness:
        idle = await harness.turn(message("x" * 50_000))
        assert idle["stop_reason"] == {"type": "retries_exhausted"}
        (error,) = harness.platform.of(types.SESSION_ERROR)
        assert error["error"]["type"] == "compaction_limit_reached_error"

        await harness.turn(message("hello"))
        assert [block["text"] for block in harness.model.bodies()[-1]["messages"][0]["content"]] == ["hello"]


async def test_summary_that_is_too_long_to_ask_for_is_asked_of_an_excerpt() -> None:
    script = [Answer(tool("bash", command="ls"), usage=FULL), SUMMARY, SUMMARY, Answer(text("Listed."))]
    async with running(*script, config=small_window(), failures={1: [TOO_LONG]}) as harness:
        in_order(harness)
        harness.sandbox.results["bash"] = text_result("x" * 100_000)
        idle = await harness.turn(message("list"))

        assert idle["stop_reason"] == {"type": "end_turn"}
        _, whole, excerpt, after = harness.model.bodies()
        assert len(whole["messages"]) == 3
        assert len(excerpt["messages"]) == 1
        assert len(excerpt["messages"][0]["content"][0]["text"]) < 30_000
        kept = after["messages"][2]["content"][0]["content"][0]["text"]
        assert "characters left out" in kept
        assert len(kept) < 21_000


async def test_interrupt_stops_a_compaction() -> None:
    async def gate(point: str) -> None:
        if point == "before request" and len(harness.model.requests) == 1:
            await harness.platform.send({"type": "user.interrupt"})
            await asyncio.Event().wait()

    script = Answer(tool("bash", command="ls"), usage=FULL), SUMMARY
    async with running(*script, config=small_window(), gate=gate) as harness:
        in_order(harness)
        idle = await harness.turn(message("list"))

        assert idle["stop_reason"] == {"type": "end_turn"}
        assert harness.platform.of(types.CONTEXT_COMPACTED) == []
        check_log(harness.platform.log(), harness.platform.epochs)
