"""What the public API stores, before a real kube-apiserver: schemas and rules take it, owners are as recorded."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from managed_agents.contracts.clock import SystemClock
from managed_agents.contracts.errors import RejectedError
from managed_agents.kube.access import KubeAccess
from managed_agents.kube.client import Kube
from managed_agents.kube.resources import AGENTS
from managed_agents.server.bodies.agents import AgentCreate, AgentUpdate
from managed_agents.server.bodies.environments import EnvironmentCreate, EnvironmentUpdate
from managed_agents.server.services.agents import Agents
from managed_agents.server.services.collection import API_MANAGER
from managed_agents.server.services.environments import Environments
from managed_agents.server.services.objects import Objects, objects_over
from managed_agents.server.validation import checked
from support.apiserver import ControlPlane
from support.tls import tls_client

pytestmark = pytest.mark.apiserver

ASK = {"type": "always_ask"}
ONLY = {"type": "only", "tools": [{"type": "tool_reference", "name": "look"}]}
WEB_SEARCH = {
    "name": "web_search",
    "allowed_domains": ["docs.example.com/guide"],
    "user_location": {"type": "approximate", "city": "Oslo", "country": "NO"},
}
WEB_FETCH = {
    "name": "web_fetch",
    "enabled": False,
    "blocked_domains": ["example.co.uk"],
    "max_content_tokens": 5,
    "url_sources": {"user_input": "none", "client_tool_results": ONLY},
}
SCHEMA = {
    "type": "object",
    "properties": {"a_b": {"type": ["string", "null"], "default": None}, "c-d.e": {"anyOf": [{"type": "string"}]}},
    "required": ["a_b"],
    "additionalProperties": False,
    "title": "Input",
}
AGENT: dict[str, Any] = {
    "name": "Repair Bot",
    "model": {"id": "claude-opus-5-5", "effort": "xhigh", "inference_geo": "us", "speed": "fast"},
    "description": "Mends.",
    "system": "You repair.\n\u00e9\u0000",
    "tools": [
        {
            "type": "agent_toolset_20260401",
            "default_config": {"enabled": True, "permission_policy": ASK},
            "configs": [{"name": "bash", "type": "bash"}, WEB_SEARCH, WEB_FETCH],
        },
        {"type": "mcp_toolset", "mcp_server_name": "git", "configs": [{"name": "push", "permission_policy": ASK}]},
        {"type": "custom", "name": "look", "description": "Looks.", "input_schema": SCHEMA},
    ],
    "mcp_servers": [{"type": "url", "name": "git", "url": "https://mcp.example.com/git?x=1"}],
    "metadata": {"teamName": "a", "snake_case": "", "with.dots/and-slashes": "x"},
}
LIMITED = {
    "type": "limited",
    "allowed_hosts": ["a.example.com", "*.b.example.com"],
    "allow_mcp_servers": True,
    "allow_package_managers": True,
}
ENVIRONMENT: dict[str, Any] = {
    "name": "python",
    "description": "",
    "config": {"type": "cloud", "networking": LIMITED, "packages": {"type": "packages", "pip": ["rich==14.0"]}},
    "metadata": {"a": ""},
}


@pytest.fixture
async def objects(plane: ControlPlane) -> AsyncIterator[Objects]:
    async with tls_client() as http:
        made = objects_over(_kube(http, plane, API_MANAGER))
        async with made.following():
            await made.wait_synced()
            yield made


def _kube(http: aiohttp.ClientSession, plane: ControlPlane, manager: str) -> Kube:
    access = KubeAccess(url=f"https://{plane.client.host}:{plane.client.port}", fixed_token=plane.client.token)
    return Kube(http, access, manager=manager, ssl_context=plane.client.context)


async def test_an_agent_with_every_field_is_kept_as_it_was_sent(plane: ControlPlane, objects: Objects) -> None:
    agents = Agents(objects=objects, clock=SystemClock())
    made = await agents.create(plane.namespace, checked(AgentCreate, AGENT))
    found = objects.agents.get(made["id"])
    live = await objects.agents.live(found)
    assert await agents.retrieve(live) == made
    assert made["version"] == 1
    assert made["metadata"] == AGENT["metadata"]
    assert made["tools"][2]["input_schema"] == SCHEMA
    same = await agents.update(live, checked(AgentUpdate, {**AGENT, "version": 1}))
    assert same == made
    body = {"model": "claude-opus-5-5", "tools": [], "mcp_servers": [], "system": "", "metadata": {"teamName": None}}
    changed = await agents.update(live, checked(AgentUpdate, body))
    assert (changed["version"], changed["model"]["effort"], changed["tools"]) == (2, {"type": "xhigh"}, [])
    assert sorted(changed["metadata"]) == ["snake_case", "with.dots/and-slashes"]
    assert (await agents.retrieve(live, 1))["system"] == made["system"]
    archived = await agents.archive(live)
    assert (archived["archived_at"] is not None, archived["version"]) == (True, 2)
    await objects.agents.delete(live)


async def test_an_environment_with_every_field_is_kept_as_it_was_sent(plane: ControlPlane, objects: Objects) -> None:
    environments = Environments(objects=objects, clock=SystemClock())
    made = await environments.create(plane.namespace, checked(EnvironmentCreate, ENVIRONMENT))
    assert (made["description"], made["config"]["networking"]) == ("", LIMITED)
    live = objects.environments.get(made["id"])
    change = {"config": {"type": "cloud", "networking": {"type": "unrestricted"}, "packages": {"pip": []}}}
    changed = await environments.update(live, checked(EnvironmentUpdate, {**change, "description": None}))
    assert (changed["config"]["networking"], changed["description"]) == ({"type": "unrestricted"}, None)
    mine = await environments.create(
        plane.namespace, checked(EnvironmentCreate, {"name": "mine", "config": {"type": "self_hosted"}})
    )
    for item in (made, mine):
        found = objects.environments.get(item["id"])
        assert (await environments.archive(found))["archived_at"] is not None
        await environments.delete(found)


async def test_what_gitops_applies_is_its_own_and_what_kubectl_writes_is_not(
    plane: ControlPlane, objects: Objects
) -> None:
    agents = Agents(objects=objects, clock=SystemClock())
    spec = {"model": {"id": "m"}, "tools": [{"type": "agent_toolset_20260401"}], "metadata": {"team": "a"}}
    async with tls_client() as http:
        argo = _kube(http, plane, "argocd-controller")
        applied = await argo.apply(
            AGENTS, plane.namespace, "from-git", {"metadata": {"name": "from-git"}, "spec": spec}
        )
        by_hand = {"apiVersion": AGENTS.api_version, "kind": AGENTS.kind, "metadata": {"name": "by-hand"}, "spec": spec}
        edited = await _kube(http, plane, "kubectl-create").create(AGENTS, plane.namespace, by_hand)
    for body, field in (
        ({"model": "other"}, "model.id"),
        ({"tools": []}, "tools"),
        ({"metadata": {"team": "b"}}, "metadata.team"),
    ):
        with pytest.raises(RejectedError, match="argocd-controller") as refused:
            await agents.update(applied, checked(AgentUpdate, body))
        assert refused.value.field == field
        assert (await agents.update(edited, checked(AgentUpdate, body)))["id"] == objects.agents.id_of(edited)
    free = await agents.update(applied, checked(AgentUpdate, {"system": "ours", "metadata": {"owner": "b"}}))
    assert (free["system"], free["metadata"]) == ("ours", {"team": "a", "owner": "b"})
    for item in (applied, edited):
        await objects.agents.delete(item)
