"""Sessions over the API with the official SDK: every field, every refusal, and the object behind them."""

from typing import Any

import anthropic
import pytest

from support.kube import Manifest, kind_of
from support.public_sessions import (
    CUSTOM,
    HEADERS,
    HELLO,
    NAMESPACE,
    TOOLSET,
    Shelf,
    apply,
    event_types,
    session_spec,
    turn,
)
from support.requirements import requirement
from support.server import TestServer
from support.waiting import until

BUDGET: Any = {"type": "limit", "max_list_cost": {"amount": "500", "currency": "USD"}}


def stored(server: TestServer) -> Manifest:
    (found,) = server.kube.list("sessions")
    return found


def shown_agent(shelf: Shelf) -> dict[str, Any]:
    """What a session shows of the agent on the shelf."""
    return {
        "type": "agent",
        "id": shelf.agent,
        "version": 1,
        "name": "bot",
        "description": None,
        "system": "You repair.",
        "model": {"id": "simulated", "effort": None, "inference_geo": None, "speed": "standard"},
        "tools": [
            {
                **TOOLSET,
                "default_config": {"enabled": True, "permission_policy": {"type": "always_allow"}},
                "configs": [],
            }
        ],
        "mcp_servers": [],
        "skills": [],
        "multiagent": None,
        "execution_identity": {"type": "service_account"},
    }


async def test_create_shows_every_field_and_makes_a_readable_object(
    server: TestServer, client: anthropic.AsyncAnthropic, shelf: Shelf
) -> None:
    session = await client.beta.sessions.create(
        agent=shelf.agent,
        environment_id=shelf.environment,
        title="Fix the build!",
        metadata={"ticketId": "42"},
        budget=BUDGET,
    )
    raw: Any = session.to_dict(mode="json")
    manifest = stored(server)
    created_at = raw["created_at"]
    assert raw == {
        "id": "sesn_" + manifest["metadata"]["uid"].replace("-", ""),
        "type": "session",
        "status": "idle",
        "title": "Fix the build!",
        "agent": raw["agent"],
        "environment_id": shelf.environment,
        "deployment_id": None,
        "vault_ids": [],
        "resources": [],
        "metadata": {"ticketId": "42"},
        "outcome_evaluations": [],
        "usage": raw["usage"],
        "stats": raw["stats"],
        "budget": BUDGET,
        "created_at": created_at,
        "updated_at": raw["updated_at"],
        "archived_at": None,
    }
    assert raw["agent"] == shown_agent(shelf)
    assert raw["usage"]["list_cost"] == {"amount": "0", "currency": "USD"}
    assert set(raw["stats"]) == {"active_seconds", "duration_seconds"}
    assert manifest["metadata"]["name"].startswith("fix-the-build-")
    assert manifest["metadata"]["annotations"]["managedagents.dev/origin"] == "api"
    assert manifest["spec"] == {
        "agentRef": {"name": "bot", "version": 1},
        "environmentRef": {"name": "python"},
        "title": "Fix the build!",
        "metadata": {"ticketId": "42"},
        "budget": {"type": "limit", "maxListCost": {"amount": "500", "currency": "USD"}},
    }
    again = (await client.beta.sessions.retrieve(session.id)).to_dict(mode="json")
    assert {**again, "stats": None} == {**raw, "stats": None}


async def test_initial_events_start_the_session_before_the_answer(
    server: TestServer, client: anthropic.AsyncAnthropic, shelf: Shelf
) -> None:
    session = await client.beta.sessions.create(
        agent={"type": "agent", "id": shelf.agent, "version": 1},
        environment_id=shelf.environment,
        initial_events=[HELLO, HELLO],
    )
    assert session.status == "running"
    events = [event async for event in client.beta.sessions.events.list(session.id)]
    assert [event.type for event in events] == ["user.message", "user.message"]
    await turn(server, session.id)
    after = await client.beta.sessions.retrieve(session.id)
    assert (after.status, after.stats.active_seconds) == ("idle", 2.5)
    assert after.usage.list_cost is not None
    assert after.usage.list_cost.amount == "3"


async def test_overrides_are_in_the_object_and_in_the_session_alone(
    server: TestServer, client: anthropic.AsyncAnthropic, shelf: Shelf
) -> None:
    session = await client.beta.sessions.create(
        agent={
            "type": "agent_with_overrides",
            "id": shelf.agent,
            "model": {"id": "unpriced", "effort": "low"},
            "system": None,
            "tools": [CUSTOM],
        },
        environment_id=shelf.environment,
    )
    shown: Any = session.to_dict(mode="json")
    raw = shown["agent"]
    assert (raw["id"], raw["version"], raw["system"]) == (shelf.agent, 1, None)
    assert raw["model"] == {"id": "unpriced", "effort": None, "inference_geo": None, "speed": "standard"}
    assert raw["tools"] == [CUSTOM]
    assert stored(server)["spec"]["agentOverrides"] == {
        "model": {"id": "unpriced"},
        "system": "",
        "tools": [{**{k: v for k, v in CUSTOM.items() if k != "input_schema"}, "inputSchema": {"type": "object"}}],
    }


TRACKER = {"type": "url", "name": "tracker", "url": "https://mcp.example.com/mcp"}


@requirement("mcp-accepted")
async def test_mcp_servers_are_accepted_and_change_with_their_toolsets(
    server: TestServer, client: anthropic.AsyncAnthropic, shelf: Shelf
) -> None:
    toolset = {"type": "mcp_toolset", "mcp_server_name": "tracker"}
    override: Any = {
        "type": "agent_with_overrides",
        "id": shelf.agent,
        "tools": [toolset],
        "mcp_servers": [TRACKER],
    }
    session = await client.beta.sessions.create(agent=override, environment_id=shelf.environment)
    raw: Any = session.to_dict(mode="json")["agent"]
    assert raw["mcp_servers"] == [TRACKER]
    asks = {"enabled": True, "permission_policy": {"type": "always_ask"}}
    assert raw["tools"] == [toolset | {"default_config": asks, "configs": []}]
    moved: Any = [TRACKER | {"url": "https://mcp.example.com/v2"}]
    changed = await client.beta.sessions.update(session.id, agent={"mcp_servers": moved})
    assert [one.url for one in changed.agent.mcp_servers] == ["https://mcp.example.com/v2"]
    with pytest.raises(anthropic.BadRequestError, match="no tool of type mcp_toolset names the server"):
        await client.beta.sessions.update(session.id, agent={"tools": []})
    local: Any = [TRACKER | {"url": "http://169.254.169.254/latest"}]
    with pytest.raises(anthropic.BadRequestError, match=r"mcp_servers\.0\.url: names a link-local"):
        await client.beta.sessions.update(session.id, agent={"mcp_servers": local})


@pytest.mark.parametrize(
    ("change", "field", "code"),
    [
        ({"resources": [{"type": "memory_store", "memory_store_id": "memstore_1"}]}, "resources.0.type", None),
        ({"resources": [{"type": "file", "file_id": "file_none"}]}, "resources.0.file_id", None),
        (
            {"resources": [{"type": "github_repository", "url": "https://github.com/a/b", "authorization_token": ""}]},
            "resources.0.authorization_token",
            None,
        ),
        ({"resources": [{"type": "github_repository", "url": "https://github.com/a/b.git"}]}, "resources.0.url", None),
        ({"initial_events": [{"type": "user.interrupt"}]}, "initial_events.0.type", None),
        ({"initial_events": [HELLO, {"type": "user.message", "content": []}]}, "initial_events.1.content", None),
        ({"initial_events": [HELLO] * 51}, "initial_events", None),
        ({"budget": {"type": "limit", "max_list_cost": {"amount": "05", "currency": "USD"}}}, "amount", None),
        ({"budget": {"type": "limit", "max_list_cost": {"amount": "0", "currency": "USD"}}}, "amount", None),
        ({"budget": {"type": "limit", "max_list_cost": {"amount": "5", "currency": "EUR"}}}, "currency", None),
        ({"metadata": {"k": "v" * 513}}, "metadata.k", "invalid_metadata"),
        ({"title": 7}, "title", None),
        ({"unknown": 1}, "unknown", None),
        ({"agent": {"type": "agent_with_overrides", "model": None}}, "agent.model", "agent_model_required"),
        ({"agent": {"type": "agent_with_overrides", "model": "gone"}}, "agent.model", None),
        (
            {"agent": {"type": "agent_with_overrides", "model": "unpriced"}, "budget": BUDGET},
            "budget",
            "model_not_budgetable",
        ),
        (
            {"agent": {"type": "agent_with_overrides", "tools": [{"type": "mcp_toolset", "mcp_server_name": "x"}]}},
            "agent.tools.0.mcp_server_name",
            None,
        ),
    ],
)
async def test_a_wrong_field_is_named_and_nothing_is_made(
    server: TestServer,
    client: anthropic.AsyncAnthropic,
    shelf: Shelf,
    change: dict[str, Any],
    field: str,
    code: str | None,
) -> None:
    body = {"agent": shelf.agent, "environment_id": shelf.environment, **change}
    if isinstance(body["agent"], dict):
        body["agent"] = {"id": shelf.agent, **body["agent"]}
    status, answer = await server.user("POST", "/sessions", body, headers=HEADERS)
    assert (status, answer["error"]["type"]) == (400, "invalid_request_error"), answer
    assert field in answer["error"]["message"].split(":")[0], answer
    assert (answer["error"].get("details") or {}).get("error_code") == code
    assert server.kube.list("sessions") == []
    assert server.running is not None
    assert await server.running.context.log.intents() == []


async def test_unknown_references_are_not_found(client: anthropic.AsyncAnthropic, shelf: Shelf) -> None:
    create = client.beta.sessions.create
    with pytest.raises(anthropic.NotFoundError):
        await create(agent="agent_" + "0" * 32, environment_id=shelf.environment)
    with pytest.raises(anthropic.NotFoundError, match="no version 7"):
        await create(agent={"type": "agent", "id": shelf.agent, "version": 7}, environment_id=shelf.environment)
    with pytest.raises(anthropic.NotFoundError) as raised:
        await create(agent=shelf.agent, environment_id="env_" + "0" * 32)
    assert raised.value.error_code == "environment_not_found"


async def test_update_emits_only_what_changed_once(
    server: TestServer, client: anthropic.AsyncAnthropic, shelf: Shelf
) -> None:
    session = await client.beta.sessions.create(
        agent=shelf.agent, environment_id=shelf.environment, metadata={"a": "1", "b": "2"}
    )
    update = client.beta.sessions.update
    changed = await update(session.id, title="New", metadata={"b": None, "cD": "3"})
    assert (changed.title, changed.metadata) == ("New", {"a": "1", "cD": "3"})
    assert stored(server)["spec"]["metadata"] == {"a": "1", "cD": "3"}
    same = await update(session.id, title="New", metadata={"b": None})
    assert same.updated_at == changed.updated_at
    cleared = await update(session.id, title=None)
    assert cleared.title is None
    assert "title" not in stored(server)["spec"]
    events = [event.to_dict(mode="json") async for event in client.beta.sessions.events.list(session.id)]
    shown = [{key: event[key] for key in ("title", "metadata", "agent", "budget") if key in event} for event in events]
    assert shown == [{"title": "New", "metadata": {"a": "1", "cD": "3"}}, {"title": None}]


async def test_tools_change_while_idle_for_this_session_alone(
    server: TestServer, client: anthropic.AsyncAnthropic, shelf: Shelf
) -> None:
    session = await client.beta.sessions.create(
        agent=shelf.agent, environment_id=shelf.environment, initial_events=[HELLO]
    )
    with pytest.raises(anthropic.BadRequestError, match="only while the session is idle"):
        await client.beta.sessions.update(session.id, agent={"tools": [CUSTOM]})
    await turn(server, session.id)
    changed = await client.beta.sessions.update(session.id, agent={"tools": [CUSTOM]})
    assert [tool.to_dict() for tool in changed.agent.tools] == [CUSTOM]
    assert (await event_types(server, session.id))[-1] == "session.updated"
    assert set(stored(server)["spec"]["agentOverrides"]) == {"tools"}
    agent = server.kube.get("agents", NAMESPACE, "bot")
    assert agent["spec"]["tools"] == [TOOLSET]
    cleared = await client.beta.sessions.update(session.id, agent={"tools": []})
    assert cleared.agent.tools == []


async def test_a_budget_is_raised_or_removed_and_never_added(
    server: TestServer, client: anthropic.AsyncAnthropic, shelf: Shelf
) -> None:
    def cents(amount: str) -> Any:
        return {"type": "limit", "max_list_cost": {"amount": amount, "currency": "USD"}}

    session = await client.beta.sessions.create(
        agent=shelf.agent, environment_id=shelf.environment, budget=cents("10"), initial_events=[HELLO]
    )
    await turn(server, session.id, cents="7")
    update = client.beta.sessions.update
    with pytest.raises(anthropic.BadRequestError) as raised:
        await update(session.id, budget=cents("7"))
    assert raised.value.error_code == "budget_not_raised"
    lowered = await update(session.id, budget=cents("8"))
    assert lowered.budget is not None
    assert lowered.budget.max_list_cost.amount == "8"
    assert (await update(session.id, budget=None)).budget is None
    assert "budget" not in stored(server)["spec"]
    with pytest.raises(anthropic.BadRequestError) as raised:
        await update(session.id, budget=cents("100"))
    assert raised.value.error_code == "budget_create_only"
    with pytest.raises(anthropic.BadRequestError, match="vault_ids"):
        await update(session.id, vault_ids=[])


@requirement("sessions-rest")
async def test_archive_is_refused_while_running_and_works_right_after_idle(
    server: TestServer, client: anthropic.AsyncAnthropic, shelf: Shelf
) -> None:
    session = await client.beta.sessions.create(
        agent=shelf.agent, environment_id=shelf.environment, initial_events=[HELLO]
    )
    with pytest.raises(anthropic.BadRequestError, match="is running and cannot be archived"):
        await client.beta.sessions.archive(session.id)
    with pytest.raises(anthropic.BadRequestError, match="is running and cannot be deleted"):
        await client.beta.sessions.delete(session.id)
    await turn(server, session.id)
    archived = await client.beta.sessions.archive(session.id)
    assert (archived.status, archived.archived_at is not None) == ("terminated", True)
    assert stored(server)["spec"]["archived"] is True
    assert (await client.beta.sessions.archive(session.id)).archived_at == archived.archived_at
    assert (await event_types(server, session.id)).count("session.status_terminated") == 1
    with pytest.raises(anthropic.BadRequestError, match="terminated"):
        await client.beta.sessions.events.send(session.id, events=[HELLO])
    first = await client.beta.sessions.retrieve(session.id)
    second = await client.beta.sessions.retrieve(session.id)
    assert first.stats.duration_seconds == second.stats.duration_seconds


async def test_a_deleted_session_is_gone_at_once(
    server: TestServer, client: anthropic.AsyncAnthropic, shelf: Shelf
) -> None:
    session = await client.beta.sessions.create(agent=shelf.agent, environment_id=shelf.environment)
    manifest = stored(server)
    manifest["metadata"]["finalizers"] = ["managedagents.dev/cleanup"]
    server.kube.replace(kind_of("sessions"), NAMESPACE, manifest["metadata"]["name"], manifest)
    deleted = await client.beta.sessions.delete(session.id)
    assert deleted.to_dict() == {"id": session.id, "type": "session_deleted"}
    assert stored(server)["metadata"]["deletionTimestamp"]
    for call in (client.beta.sessions.retrieve, client.beta.sessions.delete, client.beta.sessions.archive):
        with pytest.raises(anthropic.NotFoundError):
            await call(session.id)
    assert [item async for item in client.beta.sessions.list()] == []


@requirement("A28")
async def test_another_namespaces_session_is_not_found(
    server: TestServer, client: anthropic.AsyncAnthropic, shelf: Shelf
) -> None:
    session = await client.beta.sessions.create(agent=shelf.agent, environment_id=shelf.environment)
    server.kubernetes.allowed = lambda spec: spec["resourceAttributes"]["namespace"] != NAMESPACE
    other = {"anthropic-workspace-id": "team-b"}
    for method, path in (("GET", ""), ("POST", ""), ("DELETE", ""), ("POST", "/archive"), ("GET", "/threads")):
        status, _ = await server.user(
            method, f"/sessions/{session.id}{path}", {} if method == "POST" else None, headers=other
        )
        assert status == 404, (method, path)
    status, answer = await server.user("GET", "/sessions", headers=other)
    assert (status, answer["data"]) == (200, [])


async def test_threads_show_the_primary_one(server: TestServer, client: anthropic.AsyncAnthropic, shelf: Shelf) -> None:
    session = await client.beta.sessions.create(agent=shelf.agent, environment_id=shelf.environment)
    threads = client.beta.sessions.threads
    (thread,) = [item async for item in threads.list(session.id)]
    assert (thread.stats, thread.usage, thread.parent_thread_id) == (None, None, None)
    assert thread.agent.to_dict()["id"] == shelf.agent
    await client.beta.sessions.events.send(session.id, events=[HELLO])
    await turn(server, session.id)
    after = await threads.retrieve(thread.id, session_id=session.id)
    assert after.stats is not None
    assert after.stats.startup_seconds is not None
    assert after.usage is not None
    with pytest.raises(anthropic.BadRequestError, match="primary thread"):
        await threads.archive(thread.id, session_id=session.id)
    with pytest.raises(anthropic.NotFoundError):
        await threads.retrieve("sthr_" + "0" * 32, session_id=session.id)
    status, answer = await server.user("GET", f"/sessions/{session.id}/threads?statuses[]=running")
    assert (status, answer) == (200, {"data": [], "next_page": None})


async def test_an_applied_session_that_nobody_accepted_yet_appears_idle(
    server: TestServer, client: anthropic.AsyncAnthropic, shelf: Shelf
) -> None:
    manifest = apply(server.kube, "sessions", "by-hand", session_spec(title="Applied", agentRef={"name": "none"}))
    session_id = "sesn_" + manifest["metadata"]["uid"].replace("-", "")
    await until(lambda: server.objects.sessions.find(session_id) is not None)
    session = await client.beta.sessions.retrieve(session_id)
    assert (session.status, session.title, session.agent.name) == ("idle", "Applied", "none")
    assert [item.id async for item in client.beta.sessions.list()] == [session_id]
    assert (await client.beta.sessions.update(session_id, title="Changed")).title == "Changed"
    await client.beta.sessions.delete(session_id)
    assert server.kube.list("sessions") == []
    assert [item async for item in client.beta.sessions.list()] == []


async def test_events_of_a_session_that_nobody_accepted_say_why_not(server: TestServer, shelf: Shelf) -> None:
    manifest = apply(server.kube, "sessions", "by-hand", session_spec(environmentRef={"name": "gone"}))
    session_id = "sesn_" + manifest["metadata"]["uid"].replace("-", "")
    await until(lambda: server.objects.sessions.find(session_id) is not None)
    status, answer = await server.user("POST", f"/sessions/{session_id}/events", {"events": [HELLO]})
    assert (status, answer["error"]["type"]) == (503, "api_error")
    refused = {"type": "Ready", "status": "False", "reason": "EnvironmentNotFound", "message": "no such environment"}
    server.kube.set_status("sessions", NAMESPACE, "by-hand", conditions=[refused])
    await until(lambda: bool((server.objects.sessions.find(session_id) or {}).get("status")))
    status, answer = await server.user("GET", f"/sessions/{session_id}/events")
    assert (status, answer["error"]["type"]) == (400, "invalid_request_error")
    assert "no such environment" in answer["error"]["message"]


async def test_a_field_that_gitops_manages_is_not_fought_over(
    server: TestServer, client: anthropic.AsyncAnthropic, shelf: Shelf
) -> None:
    managed = [{"manager": "argocd-controller", "operation": "Apply", "fieldsV1": {"f:spec": {"f:title": {}}}}]
    manifest = apply(server.kube, "sessions", "by-git", session_spec(title="From Git"), managedFields=managed)
    session_id = "sesn_" + manifest["metadata"]["uid"].replace("-", "")
    await until(lambda: server.objects.sessions.find(session_id) is not None)
    with pytest.raises(anthropic.BadRequestError, match=r'title: .*"argocd-controller".*Git'):
        await client.beta.sessions.update(session_id, title="By API")
    assert (await client.beta.sessions.update(session_id, metadata={"k": "v"})).metadata == {"k": "v"}
    with pytest.raises(anthropic.BadRequestError, match="delete it in Git"):
        await client.beta.sessions.delete(session_id)
    assert stored(server)["spec"]["title"] == "From Git"


async def test_raising_a_reached_budget_resumes_the_work(
    server: TestServer, client: anthropic.AsyncAnthropic, shelf: Shelf
) -> None:
    session = await client.beta.sessions.create(
        agent=shelf.agent, environment_id=shelf.environment, budget=BUDGET, initial_events=[HELLO]
    )
    await turn(server, session.id, cents="500", reason="budget_reached")
    assert (await client.beta.sessions.retrieve(session.id)).status == "idle"
    with pytest.raises(anthropic.BadRequestError, match="budget"):
        await client.beta.sessions.events.send(session.id, events=[HELLO])
    raised: Any = {"type": "limit", "max_list_cost": {"amount": "501", "currency": "USD"}}
    assert (await client.beta.sessions.update(session.id, budget=raised)).status == "running"
    assert (await event_types(server, session.id))[-1] == "session.updated"
