"""What a session does, from the public API to the model and back, on the real message path (API reference §5, §6)."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from support.server import USER_TOKEN, session_config
from support.stack import Stack, script, stack_running

INTERRUPT = {"type": "user.interrupt"}
BUDGET = {"type": "limit", "max_list_cost": {"amount": "1", "currency": "USD"}}
COSTLY = {"currency": "USD", "per_million_tokens": {"input": "1000", "output": "1000"}}
CUSTOM = {"type": "custom", "name": "lookup_order", "description": "Look up.", "input_schema": {"type": "object"}}


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    async with stack_running(tmp_path) as made:
        made.start_worker()
        yield made


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


def agent_with(**changes: Any) -> dict[str, Any]:
    return {**session_config()["agent"], **changes}


async def asked(stack: Stack, count: int) -> list[dict[str, Any]]:
    """Wait until the model was asked so often; return the bodies of its requests."""
    async with asyncio.timeout(10):
        while len(found := stack.simulator.records.after(0)) < count:
            await stack.simulator.records.wait_after(found[-1].n if found else 0, 5)
    return [orjson.loads(record.body) for record in found]


@pytest.mark.parametrize(
    "step",
    [
        {"text": "A long story. " * 100, "chunk_delay_seconds": 0.2},
        {"text": "Late.", "first_token_delay_seconds": 60},
        {"error": {"status": 429, "type": "rate_limit_error", "message": "slow down", "retry_after": 300}},
    ],
    ids=["stream", "silence", "back-off"],
)
async def test_interrupt_is_answered_within_two_seconds_and_the_redirect_follows(
    stack: Stack, step: dict[str, Any]
) -> None:
    await stack.send(script(step))
    await asked(stack, 1)
    if "error" in step:
        await stack.until(status="rescheduling")
    loop = asyncio.get_running_loop()
    sent = loop.time()
    await stack.send(INTERRUPT, script({"text": "Instead."}))
    summary = await stack.until(wanted=False)

    assert loop.time() - sent < 2.0
    assert summary["last_message"]["text"] == "Instead."
    events = await stack.events()
    interrupt = next(event for event in events if event["type"] == "user.interrupt")
    idles = [event for event in events if event["type"] == "session.status_idle"]
    assert [event["stop_reason"]["type"] for event in idles] == ["end_turn", "end_turn"]
    assert interrupt["processed_at"] == idles[0]["processed_at"]


async def test_system_message_reaches_the_model_as_a_turn(stack: Stack) -> None:
    system = {"type": "system.message", "content": [{"type": "text", "text": "Be kind."}]}
    summary = await stack.turn(script({"text": "Yes."}), system)

    assert summary["last_message"]["text"] == "Yes."
    (request,) = await asked(stack, 1)
    assert request["messages"][1] == {"role": "system", "content": system["content"]}


async def test_model_options_reach_the_provider(tmp_path: Path) -> None:
    model = {"id": "simulated", "effort": {"type": "low"}, "speed": "fast", "inference_geo": "us"}
    async with stack_running(tmp_path, agent=agent_with(model=model)) as stack:
        stack.start_worker()
        await stack.turn(script({"text": "Yes."}))
        (request,) = await asked(stack, 1)
        events = await stack.events()

    assert (request["output_config"], request["speed"], request["inference_geo"]) == ({"effort": "low"}, "fast", "us")
    (end,) = [event for event in events if event["type"] == "span.model_request_end"]
    assert end["model_usage"]["speed"] == "fast"


async def test_custom_tool_is_waited_for_without_any_harness(tmp_path: Path) -> None:
    call = {"tool": "lookup_order", "input": {"order": 7}}
    async with stack_running(tmp_path, agent=agent_with(tools=[CUSTOM])) as stack:
        stack.start_worker()
        summary = await stack.turn(script(call, {"text": "It is {{last_tool_result}}."}))
        assert summary["stop_reason"]["type"] == "requires_action"
        await stack.stop_worker()
        released = await stack.server.operator("POST", f"/sessions/{stack.session}/release", {"epoch": 1})
        assert released[0] == 200

        use = summary["requires_action"][0]["event_id"]
        content = [{"type": "text", "text": "shipped"}]
        await stack.send({"type": "user.custom_tool_result", "custom_tool_use_id": use, "content": content})
        await stack.until(wanted=True)
        await stack.server.register(stack.session, "pod-1")
        stack.start_worker()
        summary = await stack.until(wanted=False)

    assert summary["last_message"]["text"] == "It is shipped."


async def test_raised_budget_resumes_the_turn_it_paused(tmp_path: Path) -> None:
    provider = {"name": "simulated", "list_price": COSTLY, "context_window_tokens": 200_000}
    agent = agent_with(tools=[CUSTOM])
    async with stack_running(tmp_path, agent=agent, budget=BUDGET, model_provider=provider) as stack:
        stack.start_worker()
        steps = {"tool": "nothing", "input": {}}, {"text": "Done at last."}
        summary = await stack.turn(script(*steps))
        assert summary["stop_reason"] == {"type": "budget_reached"}

        raised = {"type": "limit", "max_list_cost": {"amount": "100000", "currency": "USD"}}
        config = session_config(agent=agent, budget=raised, model_provider=provider)
        await stack.server.operator("PUT", f"/sessions/{stack.session}", {"config": config, "events": []})
        summary = await stack.until(lambda summary: summary["stop_reason"] == {"type": "end_turn"})
        events = await stack.events()

    assert summary["last_message"]["text"] == "Done at last."
    updated = kinds(events).index("session.updated")
    assert kinds(events)[updated + 1] == "session.status_running"
    costs = [event["usage"]["list_cost"] for event in events if event["type"] == "session.usage"]
    assert all(cost["currency"] == "USD" for cost in costs)


async def test_updated_tools_are_offered_in_the_next_turn(stack: Stack) -> None:
    await stack.turn(script({"text": "One."}))
    config = session_config(agent=agent_with(tools=[CUSTOM]), title="Renamed")
    await stack.server.operator("PUT", f"/sessions/{stack.session}", {"config": config, "events": []})
    await stack.turn(script({"text": "Two."}))

    first, second = await asked(stack, 2)
    assert "bash" in [tool["name"] for tool in first["tools"]]
    assert [tool["name"] for tool in second["tools"]] == ["lookup_order"]
    (updated,) = [event for event in await stack.events() if event["type"] == "session.updated"]
    assert updated["title"] == "Renamed"


async def test_conversation_is_compacted_near_the_window_s_end(tmp_path: Path) -> None:
    provider = {"name": "simulated", "list_price": None, "context_window_tokens": 2_000}
    async with stack_running(tmp_path, model_provider=provider) as stack:
        stack.start_worker()
        await stack.turn(script({"text": "A long story. " * 500}))
        summary = await stack.turn({"type": "user.message", "content": [{"type": "text", "text": "Go on."}]})
        _, asked_for, after = await asked(stack, 3)
        events = await stack.events()

    assert kinds(events).count("agent.thread_context_compacted") == 1
    assert asked_for["tool_choice"] == {"type": "none"}
    assert "compacted" in after["messages"][0]["content"][0]["text"]
    assert summary["stop_reason"] == {"type": "end_turn"}


async def test_prompt_that_the_model_finds_too_long_is_compacted(tmp_path: Path) -> None:
    provider = {"name": "simulated", "list_price": None, "context_window_tokens": None}
    agent = agent_with(model={"id": "simulated-4k"})
    async with stack_running(tmp_path, agent=agent, model_provider=provider) as stack:
        stack.start_worker()
        summary = await stack.turn(script({"text": "A long story. " * 700}))
        assert summary["stop_reason"] == {"type": "end_turn"}
        summary = await stack.turn({"type": "user.message", "content": [{"type": "text", "text": "Go on. " * 400}]})
        events = await stack.events()

    assert summary["stop_reason"] == {"type": "end_turn"}
    assert kinds(events).count("agent.thread_context_compacted") == 1
    assert "session.error" not in kinds(events)


async def test_file_that_a_message_names_reaches_the_model(stack: Stack) -> None:
    form = aiohttp.FormData()
    form.add_field("file", b"%PDF-1.7 small", filename="report.pdf", content_type="application/pdf")
    headers = {"anthropic-workspace-id": "team-a"}
    url = f"{stack.server.public_url}/v1/files"
    status, file = await stack.server.call("POST", url, USER_TOKEN, data=form, headers=headers)
    assert status == 200, file
    document = {"type": "document", "source": {"type": "file", "file_id": file["id"]}}
    said = script({"text": "Read."})
    await stack.turn({**said, "content": [*said["content"], document]})

    (request,) = await asked(stack, 1)
    block = request["messages"][0]["content"][1]
    assert (block["title"], block["source"]["media_type"]) == ("report.pdf", "application/pdf")
    assert block["source"]["data"] == "JVBERi0xLjcgc21hbGw="
