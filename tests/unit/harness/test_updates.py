"""A session that changes while it lives: its agent, its budget, and what an update wakes (API reference §4.5, §6.4)."""

import asyncio
from typing import Any

from managed_agents.contracts.events import types
from managed_agents.harness.settings import Settings
from support.harness import CUSTOM_TOOL, QUICK, TOOLSET, config_for, message, running
from support.models import Answer, text, tool

BUDGET = {"type": "limit", "max_list_cost": {"amount": "1", "currency": "USD"}}
RAISED = {"type": "limit", "max_list_cost": {"amount": "1000", "currency": "USD"}}
COSTLY = {"currency": "USD", "per_million_tokens": {"input": "1000", "output": "1000"}}


def capped(**changes: Any) -> dict[str, Any]:
    return config_for(budget=BUDGET, model_provider={"name": "simulated", "list_price": COSTLY}, **changes)


def tools_of(body: dict[str, Any]) -> list[str]:
    return [item["name"] for item in body.get("tools", [])]


async def test_changed_tools_take_effect_with_the_next_turn() -> None:
    async def gate(point: str) -> None:
        if point == "during execute" and "lookup_order" not in str(harness.platform.config):
            agent = harness.platform.config["agent"] | {"tools": [TOOLSET, CUSTOM_TOOL], "system": "Be long."}
            await harness.platform.configure(agent=agent)
            await asyncio.sleep(0)

    async with running(Answer(tool("bash", command="ls")), Answer(text("One.")), gate=gate) as harness:
        await harness.turn(message("go"))
        await harness.turn(message("again"))

        first, second, third = harness.model.bodies()
        assert tools_of(first) == tools_of(second)
        assert "lookup_order" not in tools_of(second)
        assert "lookup_order" in tools_of(third)
        assert third["system"][0]["text"].startswith("Be long.")


async def raise_budget(harness: Any, budget: Any) -> None:
    """Do what the server does: change the config and say so in the log."""
    await harness.platform.configure(budget=budget)
    await harness.platform.commit([{"id": "sevt_updated", "type": types.SESSION_UPDATED, "budget": budget}])


async def test_raised_budget_resumes_the_paused_turn() -> None:
    script = Answer(tool("bash", command="ls")), Answer(text("Done."))
    async with running(*script, config=capped()) as harness:
        idle = await harness.turn(message("go"))
        assert idle["stop_reason"] == {"type": "budget_reached"}

        await raise_budget(harness, RAISED)
        await harness.platform.until(lambda: harness.platform.kinds().count(types.STATUS_IDLE) == 2)
        kinds = harness.platform.kinds()
        updated = kinds.index(types.SESSION_UPDATED)
        assert kinds[updated + 1 : updated + 3] == [types.STATUS_RUNNING, types.THREAD_RUNNING]
        assert harness.platform.of(types.STATUS_IDLE)[-1]["stop_reason"] == {"type": "end_turn"}


async def test_removed_budget_resumes_for_a_worker_that_comes_later() -> None:
    script = Answer(tool("bash", command="ls")), Answer(text("Done."))
    async with running(*script, config=capped()) as harness:
        await harness.turn(message("go"))
        await harness.kill()
        await raise_budget(harness, None)
        harness.start()
        await harness.platform.until(lambda: harness.platform.kinds().count(types.STATUS_IDLE) == 2)

        assert harness.platform.of(types.STATUS_IDLE)[-1]["stop_reason"] == {"type": "end_turn"}


async def test_budget_that_the_log_raises_before_the_config_arrives_counts() -> None:
    async def gate(point: str) -> None:
        if point.startswith(f"before {types.THREAD_IDLE}") and not harness.platform.of(types.SESSION_UPDATED):
            await harness.platform.commit([{"id": "sevt_updated", "type": types.SESSION_UPDATED, "budget": RAISED}])

    async with running(Answer(text("Done.")), config=capped(), gate=gate) as harness:
        idle = await harness.turn(message("go"))

        assert idle["stop_reason"] == {"type": "end_turn"}
        assert harness.platform.of(types.SESSION_USAGE)[-1]["budget"] == RAISED


async def test_turn_that_had_ended_by_itself_is_idle_again_after_the_raise() -> None:
    async with running(Answer(text("Done.")), config=capped()) as harness:
        idle = await harness.turn(message("go"))
        assert idle["stop_reason"] == {"type": "budget_reached"}

        await raise_budget(harness, RAISED)
        await harness.platform.until(lambda: harness.platform.kinds().count(types.STATUS_IDLE) == 2)
        assert harness.platform.of(types.STATUS_IDLE)[-1]["stop_reason"] == {"type": "end_turn"}
        assert len(harness.model.requests) == 1


async def test_what_waits_for_a_client_outranks_the_budget_and_results_cost_no_request() -> None:
    script = Answer(tool("lookup_order", order=7)), Answer(text("Shipped."))
    async with running(*script, config=capped() | config_for([CUSTOM_TOOL], **_budget_of(capped()))) as harness:
        idle = await harness.turn(message("where is it?"))
        (use,) = harness.platform.of(types.AGENT_CUSTOM_TOOL_USE)
        assert idle["stop_reason"] == {"type": "requires_action", "event_ids": [use["id"]]}

        result = {"type": "user.custom_tool_result", "custom_tool_use_id": use["id"], "content": [text("shipped")]}
        idle = await harness.turn(result)
        assert idle["stop_reason"] == {"type": "budget_reached"}
        assert len(harness.model.requests) == 1


def _budget_of(config: dict[str, Any]) -> dict[str, Any]:
    return {key: config[key] for key in ("budget", "model_provider")}


async def test_running_time_counts_where_it_has_a_price() -> None:
    cheap = {"currency": "USD", "per_million_tokens": {"input": "0", "output": "0"}}
    config = config_for(budget=BUDGET, model_provider={"name": "simulated", "list_price": cheap})
    settings = Settings(running_hour_price=3600.0)  # a dollar a second; the platform's clock ticks once an append
    async with running(*[Answer(tool("bash", command="ls"))] * 9, config=config, settings=settings) as harness:
        idle = await harness.turn(message("go"))

        assert idle["stop_reason"] == {"type": "budget_reached"}
        assert len(harness.model.requests) == 1
        (usage,) = harness.platform.of(types.SESSION_USAGE)
        assert int(usage["usage"]["list_cost"]["amount"]) > 1


async def test_usage_without_a_list_price_reaches_any_budget() -> None:
    config = config_for(budget=RAISED, model_provider={"name": "simulated", "list_price": None})
    async with running(Answer(tool("bash", command="ls")), config=config, settings=QUICK) as harness:
        idle = await harness.turn(message("go"))

        assert idle["stop_reason"] == {"type": "budget_reached"}
        assert len(harness.model.requests) == 1
