"""Agents over the API with the official SDK, and the same objects through kubectl's door."""

import asyncio
from typing import Any

import anthropic
import pytest

from support.kube import ApiError, Manifest, kind_of
from support.server import TestServer
from support.waiting import until

NAMESPACE = "team-a"
KIND = kind_of("agents")
HEADERS = {"anthropic-workspace-id": NAMESPACE}
TOOLSET: Any = {"type": "agent_toolset_20260401"}
ALLOW = {"type": "always_allow"}
CUSTOM: Any = {"type": "custom", "name": "look", "description": "Looks.", "input_schema": {"type": "object"}}


def stored(server: TestServer) -> Manifest:
    (found,) = server.kube.list("agents")
    return found


def revisions(server: TestServer) -> list[int]:
    return sorted(int(item["revision"]) for item in server.kube.list("controllerrevisions"))


async def test_create_normalises_and_shows_every_field(server: TestServer, client: anthropic.AsyncAnthropic) -> None:
    agent = await client.beta.agents.create(
        name="Repair Bot",
        model="claude-opus-5-5",
        system="You repair.",
        tools=[TOOLSET, CUSTOM],
        metadata={"teamName": "a"},
    )
    raw = agent.to_dict(mode="json")
    manifest = stored(server)
    assert raw == {
        "id": "agent_" + manifest["metadata"]["uid"].replace("-", ""),
        "type": "agent",
        "version": 1,
        "name": "Repair Bot",
        "description": None,
        "system": "You repair.",
        "model": {"id": "claude-opus-5-5", "effort": {"type": "high"}, "inference_geo": None, "speed": "standard"},
        "tools": [
            {**TOOLSET, "default_config": {"enabled": True, "permission_policy": ALLOW}, "configs": []},
            CUSTOM,
        ],
        "mcp_servers": [],
        "skills": [],
        "multiagent": None,
        "metadata": {"teamName": "a"},
        "execution_identity": {"type": "service_account"},
        "created_at": raw["created_at"],
        "updated_at": raw["created_at"],
        "archived_at": None,
    }
    assert manifest["metadata"]["name"].startswith("repair-bot-")
    assert manifest["metadata"]["namespace"] == NAMESPACE
    assert manifest["spec"]["tools"][1] == {
        **{k: v for k, v in CUSTOM.items() if k != "input_schema"},
        "inputSchema": {"type": "object"},
    }
    assert revisions(server) == [1]
    assert (await client.beta.agents.retrieve(agent.id)).to_dict(mode="json") == raw


async def test_an_update_changes_what_is_sent_and_makes_a_version(
    server: TestServer, client: anthropic.AsyncAnthropic
) -> None:
    agents = client.beta.agents
    made = await agents.create(
        name="bot",
        model={"id": "claude-opus-5-5", "effort": "low", "inference_geo": "us"},
        system="old",
        description="old",
        tools=[CUSTOM],
        metadata={"a": "1", "b": "2"},
    )
    changed = await agents.update(
        made.id, version=1, system="", metadata={"a": None, "c": "3"}, model={"id": "claude-opus-5-5"}
    )
    assert (changed.version, changed.system, changed.description) == (2, None, "old")
    assert changed.metadata == {"b": "2", "c": "3"}
    assert changed.model.effort is not None
    assert (changed.model.effort.type, changed.model.inference_geo) == ("low", None)
    assert [tool.type for tool in changed.tools] == ["custom"]
    other = await agents.update(made.id, model="claude-sonnet-5", tools=None, description=None)
    assert (other.version, other.tools, other.description) == (3, [], None)
    assert other.model.effort is not None
    assert other.model.effort.type == "high"
    assert (await agents.retrieve(made.id, version=1)).system == "old"
    versions = [item.version async for item in agents.versions.list(made.id, limit=2)]
    assert versions == [3, 2, 1]
    assert revisions(server) == [1, 2, 3]


async def test_a_change_of_nothing_makes_no_version_and_a_stale_one_is_409(
    server: TestServer, client: anthropic.AsyncAnthropic
) -> None:
    agents = client.beta.agents
    made = await agents.create(name="bot", model="m", tools=[TOOLSET])
    written = server.kube.version
    same = await agents.update(made.id, name="bot", model="m", tools=[TOOLSET], metadata={"gone": None}, version=1)
    assert same == made
    assert server.kube.version == written
    for body in ({"system": "new"}, {"name": "bot"}):
        with pytest.raises(anthropic.ConflictError) as refused:
            await agents.update(made.id, version=2, **body)  # type: ignore[arg-type]  # two shapes of one call
        assert refused.value.type == "conflict_error"
    with pytest.raises(anthropic.NotFoundError):
        await agents.retrieve(made.id, version=2)


async def test_concurrent_updates_are_all_kept_each_as_a_version(
    server: TestServer, client: anthropic.AsyncAnthropic
) -> None:
    agents = client.beta.agents
    made = await agents.create(name="bot", model="m")

    async def by_kubectl() -> None:
        manifest = server.kube.list("agents")[0]["metadata"]
        for index in range(5):
            await asyncio.sleep(0)
            server.kube.merge(KIND, NAMESPACE, manifest["name"], {"spec": {"metadata": {f"kubectl{index}": ""}}})

    updates = [agents.update(made.id, metadata={f"api{index}": ""}) for index in range(5)]
    _, changed = await asyncio.gather(by_kubectl(), asyncio.gather(*updates))
    assert len({item.version for item in changed}) == 5
    newest = await agents.retrieve(made.id)
    assert sorted(newest.metadata) == sorted(f"{door}{index}" for door in ("api", "kubectl") for index in range(5))
    assert [item.version async for item in agents.versions.list(made.id)] == list(range(newest.version, 0, -1))
    raced = [agents.update(made.id, version=newest.version, system=f"s{index}") for index in range(4)]
    results = await asyncio.gather(*raced, return_exceptions=True)
    lost = [result for result in results if isinstance(result, anthropic.ConflictError)]
    assert len(lost) == 3
    assert (await agents.retrieve(made.id)).version == newest.version + 1


async def test_an_archived_agent_is_for_ever_and_leaves_the_list(client: anthropic.AsyncAnthropic) -> None:
    agents = client.beta.agents
    made = await agents.create(name="bot", model="m")
    archived = await agents.archive(made.id)
    assert archived.archived_at is not None
    assert archived.version == 1
    assert await agents.archive(made.id) == archived
    with pytest.raises(anthropic.BadRequestError, match="archived"):
        await agents.update(made.id, name="other")
    assert [item async for item in agents.list()] == []
    assert [item.id async for item in agents.list(include_archived=True)] == [made.id]


async def test_lists_page_newest_first_while_agents_come(server: TestServer, client: anthropic.AsyncAnthropic) -> None:
    agents = client.beta.agents
    made = [await agents.create(name=f"bot {index}", model="m") for index in range(5)]
    first = await agents.list(limit=2)
    late = await agents.create(name="late", model="m")
    rest = [item.id for item in first.data]
    page = first
    while page.has_next_page():
        page = await page.get_next_page()
        rest += [item.id for item in page.data]
    assert sorted({*rest} - {late.id}) == sorted(item.id for item in made)
    assert len(rest) == len(set(rest))
    assert [item async for item in agents.list(created_at_lte="2001-01-01T00:00:00Z")] == []
    assert len([item async for item in agents.list(created_at_gte=made[0].created_at)]) == 6
    for query in ("limit=101", "limit=0", "page=page_xx", "include_archived=1", "created_at[gte]=yesterday"):
        status, answer = await server.user("GET", f"/agents?{query}", headers=HEADERS)
        assert (status, answer["error"]["type"]) == (400, "invalid_request_error"), query
        assert answer["error"]["message"].startswith(query.split("=")[0])


async def test_both_doors_show_and_change_one_object(server: TestServer, client: anthropic.AsyncAnthropic) -> None:
    spec = {
        "model": {"id": "m"},
        "tools": [{"type": "agent_toolset_20260401", "configs": [{"name": "bash", "enabled": False}]}],
    }
    applied = server.kube.create(KIND, NAMESPACE, {"metadata": {"name": "applied"}, "spec": spec})
    agent_id = "agent_" + applied["metadata"]["uid"].replace("-", "")
    await until(lambda: server.objects.agents.find(agent_id) is not None)
    agents = client.beta.agents
    shown = await agents.retrieve(agent_id)
    assert (shown.name, shown.version) == ("applied", 1)
    changed = await agents.update(agent_id, system="by the API")
    assert changed.version == 2
    assert server.kube.get("agents", NAMESPACE, "applied")["spec"] == spec | {"system": "by the API"}
    server.kube.merge(KIND, NAMESPACE, "applied", {"spec": {"system": "by kubectl"}})
    assert (await agents.update(agent_id, description="more")).system == "by kubectl"
    server.kube.delete(KIND, NAMESPACE, "applied", {})
    await until(lambda: server.objects.agents.find(agent_id) is None)
    with pytest.raises(anthropic.NotFoundError):
        await agents.retrieve(agent_id)


async def test_a_field_that_gitops_manages_is_refused(server: TestServer, client: anthropic.AsyncAnthropic) -> None:
    owned = {"manager": "argocd-controller", "operation": "Apply", "fieldsV1": {"f:spec": {"f:model": {"f:id": {}}}}}
    body = {"metadata": {"name": "bot", "managedFields": [owned]}, "spec": {"model": {"id": "m"}}}
    made = server.kube.create(KIND, NAMESPACE, body)
    agent_id = "agent_" + made["metadata"]["uid"].replace("-", "")
    await until(lambda: server.objects.agents.find(agent_id) is not None)
    with pytest.raises(anthropic.BadRequestError, match=r'model\.id: .* managed by "argocd-controller"'):
        await client.beta.agents.update(agent_id, model="other")
    assert (await client.beta.agents.update(agent_id, system="free")).system == "free"
    assert (await client.beta.agents.update(agent_id, model="m", system="free")).version == 2


async def test_others_agents_are_unknown_and_rights_are_asked(
    server: TestServer, client: anthropic.AsyncAnthropic
) -> None:
    made = await client.beta.agents.create(name="bot", model="m")
    server.kubernetes.allowed = lambda spec: bool(spec["resourceAttributes"]["verb"] == "get")
    assert (await client.beta.agents.retrieve(made.id)).id == made.id
    with pytest.raises(anthropic.PermissionDeniedError):
        await client.beta.agents.update(made.id, system="new")
    with pytest.raises(anthropic.PermissionDeniedError):
        await client.beta.agents.archive(made.id)
    with pytest.raises(anthropic.PermissionDeniedError):
        await client.beta.agents.list()
    hidden = server.kube.create(KIND, "team-b", {"metadata": {"name": "bot"}, "spec": {"model": {"id": "m"}}})
    hidden_id = "agent_" + hidden["metadata"]["uid"].replace("-", "")
    await until(lambda: server.objects.agents.find(hidden_id) is not None)
    with pytest.raises(anthropic.NotFoundError):
        await client.beta.agents.retrieve(hidden_id)
    status, _ = await server.call("GET", f"{server.public_url}/v1/agents/agent_{'0' * 32}", "")
    assert status == 401


async def test_an_admission_refusal_is_one_clean_400(server: TestServer, client: anthropic.AsyncAnthropic) -> None:
    refusal = ApiError(422, "Invalid", "ValidatingAdmissionPolicy 'models' denied request: use a smaller model")
    server.kubernetes.api.fail("create", "agents", refusal)
    with pytest.raises(anthropic.BadRequestError, match="use a smaller model"):
        await client.beta.agents.create(name="bot", model="m")
    server.kubernetes.api.fail("create", "controllerrevisions", ApiError(503, "ServiceUnavailable", "away"))
    made = await client.beta.agents.create(name="bot", model="m")
    assert (made.version, revisions(server)) == (1, [])
    assert (await client.beta.agents.retrieve(made.id)).version == 1
    assert revisions(server) == [1]


async def test_what_is_known_is_shown_while_the_kube_apiserver_is_away(
    server: TestServer, client: anthropic.AsyncAnthropic
) -> None:
    made = await client.beta.agents.create(name="bot", model="m")
    assert await client.beta.agents.retrieve(made.id) == made
    assert [item async for item in client.beta.agents.list()] == [made]
    await client.beta.agents.update(made.id, name="bot")
    server.kubernetes.down = True
    assert await client.beta.agents.retrieve(made.id) == made
    assert [item async for item in client.beta.agents.list()] == [made]
    with pytest.raises(anthropic.InternalServerError) as refused:
        await client.beta.agents.update(made.id, system="new")
    assert (refused.value.status_code, refused.value.response.headers["retry-after"]) == (503, "1")
    server.kubernetes.down = False
    assert (await client.beta.agents.update(made.id, system="new")).version == 2


async def test_a_right_that_the_server_lacks_is_told_as_a_fault_of_its_own(
    server: TestServer, client: anthropic.AsyncAnthropic
) -> None:
    refusal = (
        'agents is forbidden: User "system:serviceaccount:managed-agents-system:x" cannot create resource "agents"'
    )
    server.kubernetes.api.fail("create", "agents", ApiError(403, "Forbidden", refusal))
    with pytest.raises(anthropic.InternalServerError, match="administrator applies manifests/install"):
        await client.beta.agents.create(name="bot", model="m")
    quota = 'agents "bot" is forbidden: exceeded quota: few, requested: count/agents=1, used: 5, limited: 5'
    server.kubernetes.api.fail("create", "agents", ApiError(403, "Forbidden", quota))
    with pytest.raises(anthropic.PermissionDeniedError, match="exceeded quota: few"):
        await client.beta.agents.create(name="bot", model="m")
