"""What waits for a client: confirmations and custom tools, and settling some of several (API reference §5.4, §5.5)."""

from typing import Any

from managed_agents.contracts.events import types
from support.harness import ASKING_TOOLSET, CUSTOM_TOOL, INTERRUPT, TOOLSET, config_for, message, running
from support.models import Answer, text, tool


def confirm(use: str, result: str = "allow", **fields: Any) -> dict[str, Any]:
    return {"type": "user.tool_confirmation", "tool_use_id": use, "result": result, **fields}


def custom_result(use: str, value: str) -> dict[str, Any]:
    content = [{"type": "text", "text": value}]
    return {"type": "user.custom_tool_result", "custom_tool_use_id": use, "content": content}


async def test_asking_tool_waits_and_runs_once_it_is_allowed() -> None:
    script = Answer(tool("bash", command="rm x")), Answer(text("Removed."))
    async with running(*script, config=config_for([ASKING_TOOLSET])) as harness:
        idle = await harness.turn(message("remove x"))
        (use,) = harness.platform.of(types.AGENT_TOOL_USE)
        assert use["evaluated_permission"] == "ask"
        assert use["evaluation"] == {"type": "always_ask"}
        assert idle["stop_reason"] == {"type": "requires_action", "event_ids": [use["id"]]}
        assert harness.sandbox.effects == []

        idle = await harness.turn(confirm(use["id"]))
        assert idle["stop_reason"] == {"type": "end_turn"}
        assert harness.sandbox.effects == [use["id"]]
        assert harness.sandbox.lookups == []
        assert harness.platform.kinds().count(types.STATUS_RUNNING) == 2
        assert all(event["processed_at"] for event in harness.platform.log())


async def test_denied_tool_does_not_run_and_the_model_reads_why() -> None:
    script = Answer(tool("bash", command="rm x")), Answer(text("I see."))
    async with running(*script, config=config_for([ASKING_TOOLSET])) as harness:
        await harness.turn(message("remove x"))
        (use,) = harness.platform.of(types.AGENT_TOOL_USE)
        await harness.turn(confirm(use["id"], "deny", deny_message="Not that file."))

        (result,) = harness.platform.of(types.AGENT_TOOL_RESULT)
        assert result["is_error"]
        assert result["content"] == [{"type": "text", "text": "Not that file."}]
        assert harness.sandbox.effects == []


async def test_settling_some_names_the_rest_again() -> None:
    script = Answer(tool("bash", command="one"), tool("bash", command="two")), Answer(text("Both."))
    async with running(*script, config=config_for([ASKING_TOOLSET])) as harness:
        await harness.turn(message("both"))
        first, second = [use["id"] for use in harness.platform.of(types.AGENT_TOOL_USE)]

        idle = await harness.turn(confirm(second))
        assert idle["stop_reason"] == {"type": "requires_action", "event_ids": [first]}
        assert harness.sandbox.effects == []

        idle = await harness.turn(confirm(first))
        assert idle["stop_reason"] == {"type": "end_turn"}
        assert harness.sandbox.effects == [first, second]


async def test_one_request_settles_confirmations_and_custom_results_together() -> None:
    calls = tool("bash", command="one"), tool("lookup_order", order=7), tool("bash", command="two")
    config = config_for([ASKING_TOOLSET, CUSTOM_TOOL])
    async with running(Answer(*calls), Answer(text("All.")), config=config) as harness:
        idle = await harness.turn(message("all"))
        first, custom, second = idle["stop_reason"]["event_ids"]

        idle = await harness.turn(confirm(first), custom_result(custom, "shipped"), confirm(second, "deny"))
        assert idle["stop_reason"] == {"type": "end_turn"}
        assert harness.sandbox.effects == [first]
        results = harness.model.bodies()[-1]["messages"][2]["content"]
        assert [block["tool_use_id"] for block in results] == [first, custom, second]
        assert [bool(block.get("is_error")) for block in results] == [False, False, True]


async def test_allowed_tools_run_before_the_session_waits_for_those_that_ask() -> None:
    policy = {"name": "bash", "permission_policy": {"type": "always_ask"}}
    toolset = TOOLSET | {"configs": [policy]}
    script = Answer(tool("bash", command="one"), tool("read", file_path="x")), Answer(text("Both."))
    async with running(*script, config=config_for([toolset])) as harness:
        idle = await harness.turn(message("both"))

        asked, allowed = [use["id"] for use in harness.platform.of(types.AGENT_TOOL_USE)]
        assert harness.sandbox.effects == [allowed]
        assert idle["stop_reason"]["event_ids"] == [asked]


async def test_custom_tool_is_answered_by_the_client() -> None:
    script = Answer(tool("lookup_order", order=7)), Answer(text("Shipped."))
    async with running(*script, config=config_for([CUSTOM_TOOL])) as harness:
        idle = await harness.turn(message("where is order 7?"))
        (use,) = harness.platform.of(types.AGENT_CUSTOM_TOOL_USE)
        assert idle["stop_reason"] == {"type": "requires_action", "event_ids": [use["id"]]}
        assert "evaluated_permission" not in use

        idle = await harness.turn(custom_result(use["id"], "shipped"))
        assert idle["stop_reason"] == {"type": "end_turn"}
        block = harness.model.bodies()[-1]["messages"][2]["content"][0]
        assert block["tool_use_id"] == use["id"]
        assert block["content"] == [{"type": "text", "text": "shipped"}]


async def test_custom_result_that_comes_before_idle_keeps_the_turn_open() -> None:
    async def gate(point: str) -> None:
        uses = harness.platform.of(types.AGENT_CUSTOM_TOOL_USE)
        if point.startswith(f"before {types.THREAD_IDLE}") and not harness.platform.of("user.custom_tool_result"):
            await harness.platform.send(custom_result(uses[0]["id"], "shipped"))

    script = Answer(tool("lookup_order", order=7)), Answer(text("Shipped."))
    async with running(*script, config=config_for([CUSTOM_TOOL]), gate=gate) as harness:
        await harness.turn(message("where is order 7?"))

        assert harness.platform.kinds().count(types.STATUS_IDLE) == 1


async def test_confirmation_that_comes_before_idle_keeps_the_turn_open() -> None:
    async def gate(point: str) -> None:
        uses = harness.platform.of(types.AGENT_TOOL_USE)
        if point.startswith(f"before {types.THREAD_IDLE}") and not harness.platform.of("user.tool_confirmation"):
            await harness.platform.send(confirm(uses[0]["id"]))

    script = Answer(tool("bash", command="ls")), Answer(text("Listed."))
    async with running(*script, config=config_for([ASKING_TOOLSET]), gate=gate) as harness:
        await harness.turn(message("list"))

        assert harness.platform.kinds().count(types.STATUS_RUNNING) == 1
        assert harness.platform.kinds().count(types.STATUS_IDLE) == 1
        (confirmation,) = harness.platform.of("user.tool_confirmation")
        (result,) = harness.platform.of(types.AGENT_TOOL_RESULT)
        assert confirmation["processed_at"] == result["processed_at"]


async def test_message_sent_while_a_client_is_waited_for_waits_too() -> None:
    script = Answer(tool("lookup_order", order=7)), Answer(text("Shipped.")), Answer(text("Bye."))
    async with running(*script, config=config_for([CUSTOM_TOOL])) as harness:
        await harness.turn(message("where is order 7?"))
        (use,) = harness.platform.of(types.AGENT_CUSTOM_TOOL_USE)

        idle = await harness.turn(message("bye"))
        assert idle["stop_reason"]["event_ids"] == [use["id"]]
        assert len(harness.model.requests) == 1

        await harness.turn(custom_result(use["id"], "shipped"))
        assert [event["content"][0]["text"] for event in harness.platform.of(types.AGENT_MESSAGE)] == [
            "Shipped.",
            "Bye.",
        ]


async def test_interrupt_closes_what_waits_for_a_client() -> None:
    script = Answer(tool("lookup_order", order=7)), Answer(text("Fine."))
    async with running(*script, config=config_for([CUSTOM_TOOL])) as harness:
        await harness.turn(message("where is order 7?"))
        idle = await harness.turn(INTERRUPT)

        assert idle["stop_reason"] == {"type": "end_turn"}
        (result,) = harness.platform.of(types.AGENT_TOOL_RESULT)
        assert result["content"][0]["text"] == "Tool execution was interrupted before completion. Please retry."
        await harness.turn(message("never mind"))
        assert [block["type"] for block in harness.model.bodies()[-1]["messages"][2]["content"]] == [
            "tool_result",
            "text",
        ]


async def test_tool_that_is_not_enabled_is_refused_without_evaluation() -> None:
    script = Answer(tool("web_search", query="x"), tool("bash", command="ls")), Answer(text("Fine."))
    without = {**TOOLSET, "configs": [{"name": "web_search", "enabled": False}]}
    async with running(*script, config=config_for([without])) as harness:
        await harness.turn(message("search"))

        refused, ran = harness.platform.of(types.AGENT_TOOL_USE)
        assert refused["evaluated_permission"] == "deny"
        assert "evaluation" not in refused
        results = {event["tool_use_id"]: event for event in harness.platform.of(types.AGENT_TOOL_RESULT)}
        assert results[refused["id"]]["is_error"]
        assert not results[ran["id"]]["is_error"]


SELF_HOSTED = {"id": "env_1", "name": "own", "config": {"type": "self_hosted"}}


def tool_result(use: str, value: str) -> dict[str, Any]:
    return {"type": "user.tool_result", "tool_use_id": use, "content": [{"type": "text", "text": value}]}


async def test_worker_of_the_client_runs_the_tools_of_a_self_hosted_environment() -> None:
    script = Answer(tool("bash", command="ls")), Answer(text("Listed."))
    async with running(*script, config=config_for(environment=SELF_HOSTED)) as harness:
        idle = await harness.turn(message("list"))
        (use,) = harness.platform.of(types.AGENT_TOOL_USE)
        assert use["evaluated_permission"] == "allow"
        assert idle["stop_reason"] == {"type": "requires_action", "event_ids": [use["id"]]}
        assert harness.sandbox.effects == []

        idle = await harness.turn(tool_result(use["id"], "a b"))
        assert idle["stop_reason"] == {"type": "end_turn"}
        assert harness.model.bodies()[-1]["messages"][2]["content"][0]["content"] == [{"type": "text", "text": "a b"}]


async def test_call_that_a_client_allowed_then_waits_for_its_worker_and_a_denied_one_does_not() -> None:
    script = Answer(tool("bash", command="one"), tool("bash", command="two")), Answer(text("Both."))
    async with running(*script, config=config_for([ASKING_TOOLSET], environment=SELF_HOSTED)) as harness:
        await harness.turn(message("both"))
        first, second = [use["id"] for use in harness.platform.of(types.AGENT_TOOL_USE)]

        idle = await harness.turn(confirm(first), confirm(second, "deny"))
        assert idle["stop_reason"] == {"type": "requires_action", "event_ids": [first]}
        idle = await harness.turn(tool_result(first, "done"))
        assert idle["stop_reason"] == {"type": "end_turn"}
        (denied,) = harness.platform.of(types.AGENT_TOOL_RESULT)
        assert denied["tool_use_id"] == second
