"""Which client events a session takes at which moment: system messages, file sources, results (API reference §5.2)."""

from typing import Any

import pytest

from managed_agents.contracts.ids import new_event_id
from managed_agents.server.services.client_events import file_ids, parse_events
from managed_agents.server.services.client_rules import takes_system_turns
from support.server import TestServer, agent_event, message, session_config

TEXT = {"type": "text", "text": "The user is an administrator now."}
SYSTEM: dict[str, Any] = {"type": "system.message", "content": [TEXT]}


def custom_result(use: str) -> dict[str, Any]:
    return {"type": "user.custom_tool_result", "custom_tool_use_id": use, "content": []}


async def emit(server: TestServer, session: str, *events: dict[str, Any]) -> None:
    assert server.running is not None
    epoch = (await server.running.context.log.take_epoch(session)).epoch
    await server.register(session, "pod-1")
    status, answer = await server.harness("pod-1", "POST", f"/sessions/{session}/events", {
        "epoch": epoch, "events": list(events),
    })  # fmt: skip
    assert status == 200, answer


async def send(server: TestServer, session: str, *events: dict[str, Any]) -> tuple[int, Any]:
    return await server.user("POST", f"/sessions/{session}/events", {"events": list(events)})


async def requiring_action(server: TestServer) -> tuple[str, str]:
    """Make a session that waits for the result of a custom tool; return its id and the tool use's."""
    session, use = await server.create(), new_event_id()
    await emit(
        server,
        session,
        agent_event("session.status_running"),
        {"id": use, "type": "agent.custom_tool_use", "name": "ask", "input": {}},
        agent_event("session.status_idle", stop_reason={"type": "requires_action", "event_ids": [use]}),
    )
    return session, use


async def test_system_message_is_taken_after_the_message_it_accompanies(server: TestServer) -> None:
    session = await server.create()
    status, answer = await send(server, session, message("hi"), SYSTEM)

    assert status == 200
    assert [event["type"] for event in answer["data"]] == ["user.message", "system.message"]
    assert answer["data"][1]["content"] == SYSTEM["content"]
    assert answer["data"][1]["processed_at"] is None


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([SYSTEM], "events.0: a system.message must directly follow"),
        ([{"type": "user.interrupt"}, SYSTEM], "events.1: a system.message must directly follow"),
        ([message("hi"), SYSTEM, message("ho")], "events.1: a system.message must be the last event"),
        ([message("hi"), SYSTEM, SYSTEM], "events.1: a system.message must be the last event"),
        ([message("hi"), SYSTEM | {"content": []}], "events.1.content: List should have at least 1 item"),
        ([message("hi"), SYSTEM | {"content": [TEXT] * 1001}], "events.1.content: List should have at most"),
        (
            [message("hi"), SYSTEM | {"content": [{"type": "image"}]}],
            "events.1.content.0.type: Input should be 'text'",
        ),
    ],
)
async def test_misplaced_system_message_is_refused_whole(
    server: TestServer, events: list[dict[str, Any]], expected: str
) -> None:
    session = await server.create()
    status, answer = await send(server, session, *events)

    assert status == 400
    assert answer["error"]["message"].startswith(expected)
    assert (await server.operator("GET", f"/sessions/{session}"))[1]["head"] == 0


async def test_under_requires_action_a_system_message_follows_a_tool_result_only(server: TestServer) -> None:
    session, use = await requiring_action(server)
    status, answer = await send(server, session, message("hi"), SYSTEM)
    assert status == 400
    assert "must directly follow a tool result" in answer["error"]["message"]

    status, _ = await send(server, session, custom_result(use), SYSTEM)
    assert status == 200


async def test_model_without_system_turns_refuses_them_with_its_code(server: TestServer) -> None:
    agent = session_config()["agent"] | {"model": {"id": "claude-sonnet-4-5"}}
    session = await server.create("old-model", agent=agent)
    status, answer = await send(server, session, message("hi"), SYSTEM)

    assert status == 400
    assert answer["error"]["type"] == "invalid_request_error"
    assert answer["error"]["details"] == {"error_code": "model_does_not_support_mid_conversation_system"}


@pytest.mark.parametrize(
    ("model", "takes"),
    [
        *((name, True) for name in ("claude-fable-5-1", "claude-fable-5", "claude-opus-5-5", "claude-opus-5")),
        *((name, True) for name in ("claude-opus-4-8", "claude-sonnet-5-5", "claude-haiku-5-5", "claude-mythos-5-1")),
        *((name, True) for name in ("simulated", "my-own-model", "claude-fable-5-2", "claude-opus-6")),
        *(
            (name, False)
            for name in ("claude-opus-4-7", "claude-opus-4-5-20251101", "claude-sonnet-5", "claude-opus-4")
        ),
        *((name, False) for name in ("claude-haiku-4-5", "claude-3-5-sonnet-20241022", "claude-sonnet-4-20250514")),
        ("claude-opus-4", False),
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", False),
    ],
)
def test_models_are_told_apart_by_id(model: str, takes: bool) -> None:
    assert takes_system_turns(model) is takes


async def test_system_message_of_an_object_follows_its_message(server: TestServer) -> None:
    config = session_config("by-yaml")
    events = [message("hi") | {"name": "first"}, SYSTEM | {"name": "second"}, SYSTEM | {"name": "third"}]
    await server.operator("PUT", f"/sessions/{config['id']}", {"config": config, "events": events})
    _, summary = await server.operator("GET", f"/sessions/{config['id']}")

    assert summary["delivered"] == ["first", "second"]
    assert [entry["name"] for entry in summary["rejected"]] == ["third"]


async def test_tool_result_of_a_client_needs_a_self_hosted_environment(server: TestServer) -> None:
    result = {"type": "user.tool_result", "tool_use_id": "sevt_1", "content": []}
    status, answer = await send(server, await server.create(), result)
    assert status == 400
    assert "only in a self_hosted environment; this one is cloud" in answer["error"]["message"]

    environment = {"id": "env_0123456789ab", "name": "own", "config": {"type": "self_hosted"}}
    session = await server.create("own", environment=environment)
    status, answer = await send(server, session, result)
    assert "names no tool use that waits for its result" in answer["error"]["message"]

    use = new_event_id()
    run = {"id": use, "type": "agent.tool_use", "name": "bash", "input": {}, "evaluated_permission": "ask"}
    await emit(server, session, agent_event("session.status_running"), run | {"internal": {"client": True}})
    answer = await send(server, session, result | {"tool_use_id": use})
    assert answer[0] == 400
    await send(server, session, {"type": "user.tool_confirmation", "tool_use_id": use, "result": "allow"})
    status, answer = await send(server, session, result | {"tool_use_id": use})
    assert status == 200
    assert answer["data"][0]["processed_at"] is not None


async def test_raised_budget_makes_a_paused_session_wanted(server: TestServer) -> None:
    budget = {"type": "limit", "max_list_cost": {"amount": "1", "currency": "USD"}}
    session = await server.create("capped", budget=budget)
    await emit(
        server,
        session,
        agent_event("session.status_running"),
        agent_event("session.status_idle", stop_reason={"type": "budget_reached"}),
    )
    status, answer = await send(server, session, message("more"))
    assert status == 400
    assert "the session's budget is reached" in answer["error"]["message"]

    for changed in ({"title": "still capped"}, {"budget": None}):
        config = session_config("capped", **({"budget": budget} | changed))
        _, summary = await server.operator("PUT", f"/sessions/{session}", {"config": config, "events": []})
        assert summary["wanted"] is ("budget" in changed)
    assert (await send(server, session, message("more")))[0] == 200


def test_files_that_events_name_are_listed() -> None:
    image = {"type": "image", "source": {"type": "file", "file_id": "file_1"}}
    text = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}}
    events = parse_events([{"type": "user.message", "content": [text, image]}])

    assert file_ids(events, ["events.0"]) == [("events.0.content.1.source.file_id", "file_1")]
