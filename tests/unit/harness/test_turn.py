"""Whole turns of the real loop: which events it writes, in which order and in which commits (API reference §5.7)."""

from managed_agents.contracts.events import types
from managed_agents.simulator.signatures import signature_of
from support.harness import message, running
from support.models import Answer, text, thinking, tool


async def test_turn_writes_the_events_of_the_contract_in_its_commits() -> None:
    async with running(Answer(text("Hello."))) as harness:
        idle = await harness.turn(message("hi"))

        assert idle["stop_reason"] == {"type": "end_turn"}
        assert harness.platform.commits == [
            [types.USER_MESSAGE],
            [types.STATUS_RUNNING, types.THREAD_RUNNING, types.REQUEST_START],
            [types.AGENT_MESSAGE, types.REQUEST_END],
            [types.THREAD_IDLE, types.SESSION_USAGE, types.STATUS_IDLE],
        ]
        assert harness.platform.log()[0]["processed_at"] == harness.platform.log()[3]["processed_at"]


async def test_tool_call_runs_in_the_sandbox_and_its_result_reaches_the_model() -> None:
    async with running(Answer(text("Running."), tool("bash", command="ls")), Answer(text("Listed."))) as harness:
        await harness.turn(message("list"))

        (use,) = harness.platform.of(types.AGENT_TOOL_USE)
        (result,) = harness.platform.of(types.AGENT_TOOL_RESULT)
        assert use["evaluated_permission"] == "allow"
        assert use["evaluation"] == {"type": "always_allow"}
        assert result["tool_use_id"] == use["id"]
        assert result["content"] == [{"type": "text", "text": "ran ls"}]
        assert harness.sandbox.effects == [use["id"]]
        last = harness.model.bodies()[-1]["messages"]
        assert [item["role"] for item in last] == ["user", "assistant", "user"]
        assert last[1]["content"][1] == {
            "type": "tool_use",
            "id": use["id"],
            "name": "bash",
            "input": {"command": "ls"},
        }
        assert last[2]["content"][0]["tool_use_id"] == use["id"]


async def test_thinking_is_sent_back_with_its_signature_and_shown_to_nobody() -> None:
    block = thinking("Let me see.", signature_of("Let me see."))
    async with running(Answer(block, tool("bash", command="ls")), Answer(text("Listed."))) as harness:
        await harness.turn(message("list"))

        (event,) = harness.platform.of(types.AGENT_THINKING)
        assert set(event) == {"id", "type", "position", "processed_at", "internal"}
        assert harness.model.bodies()[-1]["messages"][1]["content"][0] == block


async def test_messages_that_come_while_a_turn_runs_are_answered_in_the_same_turn() -> None:
    async with running(Answer(tool("bash", command="ls")), Answer(text("One.")), Answer(text("Two."))) as harness:
        await harness.turn(message("first"), message("second"))
        await harness.turn(message("third"))

        assert harness.platform.kinds().count(types.STATUS_RUNNING) == 2
        first = harness.model.bodies()[0]["messages"]
        assert [block["text"] for block in first[0]["content"]] == ["first", "second"]


async def test_message_that_arrives_as_the_turn_would_end_keeps_it_open() -> None:
    async def gate(point: str) -> None:
        if point.startswith(f"before {types.THREAD_IDLE}") and len(harness.platform.of(types.USER_MESSAGE)) == 1:
            await harness.platform.send(message("second"))

    async with running(Answer(text("One.")), Answer(text("Two.")), gate=gate) as harness:
        await harness.turn(message("first"))

        kinds = harness.platform.kinds()
        assert kinds.count(types.STATUS_RUNNING) == kinds.count(types.STATUS_IDLE) == 1
        assert kinds.count(types.AGENT_MESSAGE) == 2


async def test_previews_carry_the_ids_of_the_events_that_follow() -> None:
    async with running(Answer(thinking("Hm."), text("Hello there."))) as harness:
        await harness.turn(message("hi"))

        (thought,) = harness.platform.of(types.AGENT_THINKING)
        (said,) = harness.platform.of(types.AGENT_MESSAGE)
        starts = [item["event"] for item in harness.platform.previews if item["type"] == types.EVENT_START]
        deltas = [item for item in harness.platform.previews if item["type"] == types.EVENT_DELTA]
        assert starts == [
            {"type": types.AGENT_THINKING, "id": thought["id"]},
            {"type": types.AGENT_MESSAGE, "id": said["id"]},
        ]
        assert {delta["event_id"] for delta in deltas} == {said["id"]}
        assert "".join(delta["delta"]["content"]["text"] for delta in deltas) == "Hello there."


async def test_usage_and_running_time_are_summed_over_the_session() -> None:
    async with running(Answer(tool("bash", command="ls")), Answer(text("Done."))) as harness:
        await harness.turn(message("go"))

        (event,) = harness.platform.of(types.SESSION_USAGE)
        assert event["usage"]["input_tokens"] == 20
        assert event["usage"]["output_tokens"] == 14
        assert event["usage"]["cache_read_input_tokens"] == 6
        assert event["usage"]["active_seconds"] > 0
        assert event["usage"]["list_cost"] == {"amount": "0", "currency": "USD"}
