"""System messages: a turn of role `system` right after the input that they accompany (API reference §5.2)."""

from typing import Any

from managed_agents.contracts.events import types
from managed_agents.harness.history.fold import fold
from managed_agents.harness.history.state import State
from support.harness import CUSTOM_TOOL, INTERRUPT, config_for, message, running
from support.models import Answer, text, tool


def system(value: str) -> dict[str, Any]:
    return {"type": "system.message", "content": [text(value)]}


def custom_result(use: str) -> dict[str, Any]:
    return {"type": "user.custom_tool_result", "custom_tool_use_id": use, "content": [text("shipped")]}


def roles(body: dict[str, Any]) -> list[str]:
    return [item["role"] for item in body["messages"]]


async def test_system_message_becomes_a_turn_after_its_user_message_and_stays() -> None:
    async with running(Answer(text("One.")), Answer(text("Two."))) as harness:
        await harness.turn(message("hi"), system("Be brief."))
        await harness.turn(message("again"))

        first, second = harness.model.bodies()
        assert roles(first) == ["user", "system"]
        assert first["messages"][1]["content"] == [text("Be brief.")]
        assert roles(second) == ["user", "system", "assistant", "user"]
        assert second["system"] == first["system"]
        assert all(event["processed_at"] for event in harness.platform.log())


async def test_messages_that_queue_up_keep_their_system_turns() -> None:
    async def gate(point: str) -> None:
        if point == "before request" and len(harness.platform.of(types.USER_MESSAGE)) == 1:
            await harness.platform.send(message("second"), system("As an administrator."))

    async with running(Answer(text("One.")), Answer(text("Two.")), gate=gate) as harness:
        await harness.turn(message("first"))

        first, second = harness.model.bodies()
        assert roles(first) == ["user"]
        assert roles(second) == ["user", "assistant", "user", "system"]


async def test_system_message_after_a_tool_result_goes_with_it() -> None:
    script = Answer(tool("lookup_order", order=7)), Answer(text("Shipped."))
    async with running(*script, config=config_for([CUSTOM_TOOL])) as harness:
        await harness.turn(message("where is order 7?"))
        (use,) = harness.platform.of(types.AGENT_CUSTOM_TOOL_USE)
        await harness.turn(custom_result(use["id"]), system("The user is upset."))

        assert roles(harness.model.bodies()[-1]) == ["user", "assistant", "user", "system"]
        assert harness.platform.of(types.SYSTEM_MESSAGE)[0]["processed_at"]


async def test_system_message_after_one_of_two_results_is_not_lost() -> None:
    script = Answer(tool("lookup_order", order=7), tool("lookup_order", order=8)), Answer(text("Shipped."))
    async with running(*script, config=config_for([CUSTOM_TOOL])) as harness:
        await harness.turn(message("where are they?"))
        first, second = [use["id"] for use in harness.platform.of(types.AGENT_CUSTOM_TOOL_USE)]
        idle = await harness.turn(custom_result(first), system("One."))
        assert idle["stop_reason"]["event_ids"] == [second]
        await harness.turn(custom_result(second), system("Two."))

        last = harness.model.bodies()[-1]["messages"][-1]
        assert [block["text"] for block in last["content"]] == ["One.", "Two."]


async def test_interrupt_does_not_lose_what_the_system_said() -> None:
    script = Answer(tool("lookup_order", order=7), tool("lookup_order", order=8)), Answer(text("Fine."))
    async with running(*script, config=config_for([CUSTOM_TOOL])) as harness:
        await harness.turn(message("where are they?"))
        (first, _) = [use["id"] for use in harness.platform.of(types.AGENT_CUSTOM_TOOL_USE)]
        await harness.turn(custom_result(first), system("One."), INTERRUPT)
        await harness.turn(message("never mind"))

        assert roles(harness.model.bodies()[-1]) == ["user", "assistant", "user", "system"]


async def test_rebuilt_conversation_has_the_same_system_turns() -> None:
    async with running(Answer(text("One.")), Answer(text("Two."))) as harness:
        await harness.turn(message("hi"), system("Be brief."))
        await harness.turn(message("more"), system("Be briefer."))

        rebuilt = fold(State(), harness.platform.log())
        assert [b'"role":"system"' in item for item in rebuilt.conversation.messages()] == [
            *(False, True, False),
            *(False, True, False),
        ]
