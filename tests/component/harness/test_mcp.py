"""MCP servers of an agent: real ones of the official package, through the real proxy, loop and server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from managed_agents.contracts.egress import EgressRules
from support.mcp_server import BreakingServer, McpWorld, Seen, breaking_server, mcp_server
from support.ordering import violations
from support.requirements import requirement
from support.server import session_config
from support.stack import Stack, script, stack_running

ALLOW = {"enabled": True, "permission_policy": {"type": "always_allow"}}
ASK = {"enabled": True, "permission_policy": {"type": "always_ask"}}
UNRESTRICTED = {"type": "unrestricted"}
ADD = {"tool": "mcp__tracker__add", "input": {"a": 40, "b": 2}}
SLOW = {"tool": "mcp__tracker__slow", "input": {}}
TELL = {"text": "{{last_tool_result}}"}


def _agent(url: str, default: dict[str, Any] = ALLOW, configs: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    toolset = {"type": "mcp_toolset", "mcp_server_name": "tracker", "default_config": default, "configs": list(configs)}
    builtin = {"type": "agent_toolset_20260401", "default_config": ALLOW, "configs": []}
    agent: dict[str, Any] = session_config("repair-42")["agent"]
    return agent | {"tools": [builtin, toolset], "mcp_servers": [{"type": "url", "name": "tracker", "url": url}]}


def _environment(networking: dict[str, Any]) -> dict[str, Any]:
    config = {"type": "cloud", "networking": networking, "packages": {}}
    return {"id": "env_0123456789ab", "name": "python", "config": config}


@asynccontextmanager
async def _stack(
    folder: Path,
    world: McpWorld | BreakingServer,
    *,
    agent: dict[str, Any] | None = None,
    networking: dict[str, Any] = UNRESTRICTED,
    rules: EgressRules | None = None,
) -> AsyncIterator[Stack]:
    egress = rules or EgressRules(hosts={"localhost": world.port})
    agent, environment = agent or _agent(world.url), _environment(networking)
    async with stack_running(folder, egress=egress, agent=agent, environment=environment) as stack:
        stack.start_worker()
        yield stack


@pytest.fixture
async def world() -> AsyncIterator[McpWorld]:
    async with mcp_server() as made:
        yield made


async def _of(stack: Stack, *kinds: str) -> list[dict[str, Any]]:
    return [event for event in await stack.events() if event["type"] in kinds]


async def _clean(stack: Stack) -> None:
    assert violations(await stack.events()) == []


@requirement("mcp")
@pytest.mark.parametrize("transport", ["streamable", "streamable-json", "sse"])
async def test_a_tool_of_a_server_is_called_and_its_result_reaches_the_model(tmp_path: Path, transport: Any) -> None:
    async with mcp_server(transport) as world, _stack(tmp_path, world) as stack:
        summary = await stack.turn(script(ADD, TELL))

        assert summary["last_message"]["text"] == "42"
        use, result = await _of(stack, "agent.mcp_tool_use", "agent.mcp_tool_result")
        assert use["mcp_server_name"] == "tracker"
        assert (use["name"], use["input"]) == ("add", {"a": 40, "b": 2})
        assert (use["evaluated_permission"], use["evaluation"]) == ("allow", {"type": "always_allow"})
        assert (result["mcp_tool_use_id"], result["is_error"]) == (use["id"], False)
        assert result["content"] == [{"type": "text", "text": "42"}]
        assert await _of(stack, "session.error", "agent.tool_use") == []
        await _clean(stack)


@requirement("mcp-asks")
async def test_a_tool_asks_by_default_and_runs_once_it_is_confirmed(tmp_path: Path, world: McpWorld) -> None:
    async with _stack(tmp_path, world, agent=_agent(world.url, ASK)) as stack:
        summary = await stack.turn(script(ADD, TELL))
        (use,) = await _of(stack, "agent.mcp_tool_use")
        assert summary["stop_reason"] == {"type": "requires_action", "event_ids": [use["id"]]}
        assert (use["evaluated_permission"], world.effects) == ("ask", [])
        confirmed = {"type": "user.tool_confirmation", "tool_use_id": use["id"], "result": "allow"}
        summary = await stack.turn(confirmed)
        assert (summary["last_message"]["text"], world.effects) == ("42", ["add"])

        await stack.turn(script(ADD, TELL))
        *_, use = await _of(stack, "agent.mcp_tool_use")
        denied = {"type": "user.tool_confirmation", "tool_use_id": use["id"], "result": "deny", "deny_message": "no"}
        summary = await stack.turn(denied)
        assert (summary["last_message"]["text"], world.effects) == ("no", ["add"])
        await _clean(stack)


@requirement("mcp")
async def test_a_tool_that_is_not_enabled_is_not_offered(tmp_path: Path, world: McpWorld) -> None:
    agent = _agent(world.url, configs=({"name": "add", "enabled": False},))
    async with _stack(tmp_path, world, agent=agent) as stack:
        await stack.turn(script(ADD, TELL))
        use, result = await _of(stack, "agent.tool_use", "agent.tool_result")
        assert (use["evaluated_permission"], "evaluation" in use) == ("deny", False)
        assert (result["is_error"], world.effects) == (True, [])
        await _clean(stack)


@requirement("mcp")
async def test_images_and_errors_of_a_tool_reach_the_model(tmp_path: Path, world: McpWorld) -> None:
    async with _stack(tmp_path, world) as stack:
        picture = {"tool": "mcp__tracker__picture", "input": {}}
        await stack.turn(script(picture, {"tool": "mcp__tracker__fail", "input": {}}, {"text": "seen"}))
        image, failure = await _of(stack, "agent.mcp_tool_result")
        assert (image["content"][0]["type"], image["content"][0]["source"]["media_type"]) == ("image", "image/png")
        assert failure["is_error"]
        assert "no such ticket" in failure["content"][0]["text"] or "fail" in failure["content"][0]["text"]
        await _clean(stack)


@requirement("mcp-missing")
async def test_a_server_that_is_not_there_is_told_of_and_tried_again_with_the_next_turn(
    tmp_path: Path, world: McpWorld
) -> None:
    world.answer = lambda _: 500
    async with _stack(tmp_path, world) as stack:
        summary = await stack.turn(script({"text": "without"}))
        assert (summary["last_message"]["text"], summary["stop_reason"]["type"]) == ("without", "end_turn")
        (error,) = await _of(stack, "session.error")
        assert error["error"]["type"] == "mcp_connection_failed_error"
        assert (error["error"]["mcp_server_name"], error["error"]["retry_status"]) == ("tracker", {"type": "retrying"})
        world.answer = lambda _: None
        summary = await stack.turn(script(ADD, TELL))
        assert summary["last_message"]["text"] == "42"
        assert len(await _of(stack, "session.error")) == 1
        await _clean(stack)


@requirement("mcp-missing")
@pytest.mark.parametrize("status", [401, 403])
async def test_a_server_that_wants_a_credential_is_an_authentication_error(
    tmp_path: Path, world: McpWorld, status: int
) -> None:
    world.answer = lambda _: status
    async with _stack(tmp_path, world) as stack:
        summary = await stack.turn(script({"text": "without"}))
        assert summary["stop_reason"]["type"] == "end_turn"
        (error,) = await _of(stack, "session.error")
        assert error["error"]["type"] == "mcp_authentication_failed_error"
        await _clean(stack)


@requirement("mcp-credential")
async def test_the_proxy_adds_the_credential_and_a_rotation_reaches_the_running_session(
    tmp_path: Path, world: McpWorld
) -> None:
    def put(token: str) -> None:
        entry = {"id": "c", "vault_id": "v", "type": "static_bearer", "mcp_server_url": f"{world.url}/", "token": token}
        other = entry | {"mcp_server_url": f"{world.url}/other", "token": "wrong"}
        (tmp_path / "credentials.json").write_bytes(orjson.dumps({"credentials": [other, entry, other]}))

    def guarded(seen: Seen) -> int | None:
        return None if seen.headers.get("authorization") == "Bearer right" else 401

    world.answer = guarded
    put("stale")
    async with _stack(tmp_path, world) as stack:
        await stack.turn(script({"text": "without"}))
        assert [e["error"]["type"] for e in await _of(stack, "session.error")] == ["mcp_authentication_failed_error"]
        put("right")
        summary = await stack.turn(script(ADD, TELL))
        assert summary["last_message"]["text"] == "42"
        assert "right" not in str(await stack.events())


@requirement("A23")
@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:{port}/mcp", "no public address"),
        ("http://[::ffff:127.0.0.1]:{port}/mcp", "no public address"),
        ("http://169.254.169.254/latest", "no public address"),
        ("http://2130706433/mcp", "can not be dialled"),
        ("http://tracker.team-a.svc/mcp", "inside the cluster"),
    ],
)
async def test_a_server_at_an_internal_address_is_refused_when_it_is_dialled(
    tmp_path: Path, world: McpWorld, url: str, said: str
) -> None:
    rules = EgressRules(ports=(world.port,))
    async with _stack(tmp_path, world, agent=_agent(url.format(port=world.port)), rules=rules) as stack:
        await stack.turn(script({"text": "without"}))
        (error,) = await _of(stack, "session.error")
        assert error["error"]["type"] == "mcp_connection_failed_error"
        assert said in error["error"]["message"]
        assert world.seen == []


@requirement("A23")
async def test_a_redirect_is_not_followed(tmp_path: Path, world: McpWorld) -> None:
    world.answer = lambda _: 307
    async with _stack(tmp_path, world) as stack:
        await stack.turn(script({"text": "without"}))
        (error,) = await _of(stack, "session.error")
        assert "redirect" in error["error"]["message"]
        assert "169.254" not in error["error"]["message"]


@requirement("mcp-networking")
@pytest.mark.parametrize(
    ("networking", "is_reached"),
    [
        ({"type": "limited"}, False),
        ({"type": "limited", "allow_mcp_servers": True}, True),
        ({"type": "limited", "allowed_hosts": ["localhost"]}, True),
    ],
)
async def test_limited_networking_reaches_a_server_only_where_it_says_so(
    tmp_path: Path, world: McpWorld, networking: dict[str, Any], is_reached: bool
) -> None:
    async with _stack(tmp_path, world, networking=networking) as stack:
        await stack.turn(script({"text": "done"}))
        errors = [event["error"]["message"] for event in await _of(stack, "session.error")]
        assert [("allow_mcp_servers" in error) for error in errors] == ([] if is_reached else [True])
        assert bool(world.seen) == is_reached


@requirement("mcp")
@pytest.mark.parametrize("transport", ["streamable", "sse"])
async def test_an_interrupt_cancels_the_call_at_the_server(tmp_path: Path, transport: Any) -> None:
    async with mcp_server(transport) as world, _stack(tmp_path, world) as stack:
        await stack.send(script(SLOW))
        async with asyncio.timeout(10):
            await world.started.wait()
        loop = asyncio.get_running_loop()
        sent = loop.time()
        summary = await stack.turn({"type": "user.interrupt"})
        assert loop.time() - sent < 2.0
        assert summary["stop_reason"] == {"type": "end_turn"}
        (result,) = await _of(stack, "agent.mcp_tool_result")
        assert "interrupted" in result["content"][0]["text"]
        again = await stack.turn(script(ADD, TELL))
        assert again["last_message"]["text"] == "42"
        assert world.cancelled == ["slow"]
        await _clean(stack)


@requirement("mcp-unknown")
async def test_a_call_that_a_dead_harness_left_is_told_to_be_unknown_and_not_repeated(
    tmp_path: Path, world: McpWorld
) -> None:
    async with _stack(tmp_path, world) as stack:
        both = {"tools": [{"name": "mcp__tracker__slow", "input": {}}, {"name": "mcp__tracker__add", **_inputs(1, 2)}]}
        await stack.send(script(both, TELL))
        async with asyncio.timeout(10):
            await world.started.wait()
        await stack.stop_worker()
        stack.start_worker()
        await stack.until(wanted=False)
        unknown, added = await _of(stack, "agent.mcp_tool_result")
        assert unknown["is_error"]
        assert "unknown" in unknown["content"][0]["text"]
        assert added["content"] == [{"type": "text", "text": "3"}]
        assert world.effects == ["slow", "add"]
        await _clean(stack)


def _inputs(a: int, b: int) -> dict[str, Any]:
    return {"input": {"a": a, "b": b}}


@requirement("mcp")
async def test_a_server_that_forgot_the_session_gets_a_new_one(tmp_path: Path, world: McpWorld) -> None:
    async with _stack(tmp_path, world) as stack:
        await stack.turn(script(ADD, TELL))
        old = {seen.headers.get("mcp-session-id") for seen in world.seen} - {None}
        world.answer = lambda seen: 404 if seen.headers.get("mcp-session-id") in old else None
        summary = await stack.turn(script(ADD, TELL))
        assert summary["last_message"]["text"] == "42"
        assert world.effects == ["add", "add"]
        assert await _of(stack, "session.error") == []


@requirement("mcp")
async def test_servers_and_tools_that_change_do_so_with_the_next_turn(tmp_path: Path, world: McpWorld) -> None:
    async with _stack(tmp_path, world) as stack:
        await stack.turn(script(ADD, TELL))
        await _change(stack, _agent("http://moved.team-b.svc/mcp"))
        await stack.turn(script({"text": "without"}))
        (error,) = await _of(stack, "session.error")
        assert "moved.team-b.svc" in error["error"]["message"]
        asked = len(world.seen)
        await _change(stack, session_config("repair-42")["agent"])
        await stack.turn(script({"text": "alone"}))
        await _change(stack, _agent(world.url, ASK))
        summary = await stack.turn(script(ADD, TELL))
        assert summary["stop_reason"]["type"] == "requires_action"
        assert len(await _of(stack, "session.error")) == 1
        assert len(world.seen) > asked


async def _change(stack: Stack, agent: dict[str, Any]) -> None:
    await stack.server.create("repair-42", agent=agent, environment=_environment(UNRESTRICTED))


@requirement("mcp")
@pytest.mark.parametrize("has_sandbox", [True, False])
async def test_a_long_result_is_kept_in_the_sandbox_if_there_is_one(
    tmp_path: Path, world: McpWorld, has_sandbox: bool
) -> None:
    agent = _agent(world.url)
    agent |= {} if has_sandbox else {"tools": agent["tools"][1:]}
    async with _stack(tmp_path, world, agent=agent) as stack:
        await stack.turn(script({"tool": "mcp__tracker__long", "input": {}}, {"text": "seen"}))
        (result,) = await _of(stack, "agent.mcp_tool_result")
        text = result["content"][0]["text"]
        assert text.startswith("[output truncated]\n[100007 characters in all; ")
        assert text.endswith("the end")
        assert len(text) < 31_000
        assert ("could not be kept" in text, len(stack.sandboxes)) == (not has_sandbox, int(has_sandbox))
        if has_sandbox:
            path = text.partition("output is in ")[2].partition(":")[0]
            count = {"tool": "bash", "input": {"command": f"tail -c 7 {path}; wc -c < {path}"}}
            summary = await stack.turn(script(count, TELL))
            assert summary["last_message"]["text"].strip() == "the end100007"
        await _clean(stack)


@requirement("mcp-unknown")
@pytest.mark.parametrize("resumes", [True, False])
async def test_an_answer_whose_stream_breaks_is_taken_up_again_through_the_proxy(tmp_path: Path, resumes: bool) -> None:
    async with breaking_server(resumes=resumes) as server, _stack(tmp_path, server) as stack:
        summary = await stack.turn(script(SLOW, TELL))
        assert ("late" if resumes else "outcome unknown") in summary["last_message"]["text"]
        assert (server.calls, server.last_ids) == (1, ["7"])
        await _clean(stack)
