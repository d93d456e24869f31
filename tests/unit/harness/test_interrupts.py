"""Interrupts, at whatever moment they come (API reference §6.3)."""

import asyncio

from managed_agents.contracts.events import types
from support.harness import INTERRUPT, message, running
from support.models import Answer, text, tool


async def test_interrupt_stops_a_stream_and_leaves_no_part_of_it() -> None:
    async def gate(point: str) -> None:
        if point == "stream content_block_stop" and not harness.platform.of(types.USER_INTERRUPT):
            await harness.platform.send(INTERRUPT)
            await asyncio.Event().wait()

    async with running(Answer(text("A long story.")), gate=gate) as harness:
        idle = await harness.turn(message("tell me"))

        assert idle["stop_reason"] == {"type": "end_turn"}
        assert harness.platform.of(types.AGENT_MESSAGE) == []
        (end,) = harness.platform.of(types.REQUEST_END)
        assert end["is_error"]
        assert end["model_usage"]["input_tokens"] == 10
        assert all(event["processed_at"] for event in harness.platform.log())


async def test_interrupt_cancels_a_running_tool_and_answers_for_all_open_ones() -> None:
    async def gate(point: str) -> None:
        if point == "during execute":
            await harness.platform.send(INTERRUPT)
            await asyncio.Event().wait()

    script = Answer(tool("bash", command="sleep 1000"), tool("bash", command="ls"))
    async with running(script, gate=gate) as harness:
        await harness.turn(message("sleep"))

        first, second = [use["id"] for use in harness.platform.of(types.AGENT_TOOL_USE)]
        assert harness.sandbox.cancelled == [first]
        assert harness.sandbox.effects == [first]
        results = harness.platform.of(types.AGENT_TOOL_RESULT)
        assert [result["tool_use_id"] for result in results] == [first, second]
        assert all(result["is_error"] for result in results)


async def test_interrupt_and_message_in_one_request_redirect_the_agent() -> None:
    async def gate(point: str) -> None:
        if point == "stream content_block_stop" and not harness.platform.of(types.USER_INTERRUPT):
            await harness.platform.send(INTERRUPT, message("do this instead"))
            await asyncio.Event().wait()

    async with running(Answer(text("Doing this.")), gate=gate) as harness:
        await harness.turn(message("do that"))

        kinds = harness.platform.kinds()
        first_idle = kinds.index(types.STATUS_IDLE)
        assert harness.platform.log()[first_idle]["stop_reason"] == {"type": "end_turn"}
        assert kinds.count(types.STATUS_RUNNING) == kinds.count(types.STATUS_IDLE) == 2
        # Both turns meet in one commit: at no instant is nobody responsible for the second message.
        assert any(
            types.STATUS_IDLE in commit and types.STATUS_RUNNING in commit for commit in harness.platform.commits
        )
        assert [block["text"] for block in harness.model.bodies()[-1]["messages"][0]["content"]] == [
            "do that",
            "do this instead",
        ]


async def test_interrupt_during_back_off_ends_the_turn_at_once() -> None:
    from managed_agents.harness.retry import failure_for

    async def gate(point: str) -> None:
        if point.startswith(f"after {types.REQUEST_END}+{types.SESSION_ERROR}"):
            await harness.platform.send(INTERRUPT)

    failure = failure_for(429, {"type": "rate_limit_error", "message": "slow down"}, {"retry-after": "300"})
    async with running(Answer(text("Hi.")), failures={0: [failure]}, gate=gate) as harness:
        idle = await harness.turn(message("hi"))

        assert idle["stop_reason"] == {"type": "end_turn"}
        assert len(harness.model.requests) == 1


async def test_interrupt_of_an_idle_session_changes_nothing() -> None:
    async with running(Answer(text("Hi.")), Answer(text("Again."))) as harness:
        await harness.turn(message("hi"))
        await harness.platform.send(INTERRUPT)
        await harness.turn(message("again"))

        assert harness.platform.kinds().count(types.STATUS_IDLE) == 2
