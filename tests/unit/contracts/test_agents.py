"""Agents in API form: each default said once, and versions that both processes make alike."""

from typing import Any

from managed_agents.contracts.api.agents import (
    next_revision,
    revision_for,
    snapshot_for,
    spec_value,
    unsupported_fields,
)
from managed_agents.contracts.api.tools import resolved_model, resolved_tools

UID = "11111111-2222-3333-4444-555555555555"


def agent(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "bot", "namespace": "team-a", "uid": UID}, "spec": {"model": {"id": "m"}, **spec}}


def test_every_field_is_shown_with_its_default() -> None:
    assert snapshot_for(agent(), 3) == {
        "type": "agent",
        "id": "agent_11111111222233334444555555555555",
        "version": 3,
        "name": "bot",
        "description": None,
        "system": None,
        "model": {"id": "m", "effort": None, "inference_geo": None, "speed": "standard"},
        "tools": [],
        "mcp_servers": [],
        "skills": [],
        "multiagent": None,
        "metadata": {},
        "execution_identity": {"type": "service_account"},
    }


def test_models_that_take_an_effort_show_theirs() -> None:
    assert resolved_model({"id": "claude-opus-5-5"})["effort"] == {"type": "high"}
    assert resolved_model({"id": "claude-opus-5-5", "effort": {"type": "low"}})["effort"] == {"type": "low"}
    assert resolved_model({"id": "claude-haiku-4-5"})["effort"] is None


def test_toolsets_are_resolved_from_their_default() -> None:
    ask = {"type": "always_ask"}
    tools: list[dict[str, Any]] = [
        {
            "type": "agent_toolset_20260401",
            "default_config": {"enabled": False},
            "configs": [{"name": "bash", "enabled": True, "permission_policy": ask}, {"name": "web_search"}],
        },
        {"type": "mcp_toolset", "mcp_server_name": "git", "configs": [{"name": "push", "enabled": False}]},
    ]
    allow = {"type": "always_allow"}
    off = {"enabled": False, "permission_policy": allow}
    search = {"allowed_domains": None, "blocked_domains": None, "user_location": None}
    assert resolved_tools(tools) == [
        {
            "type": "agent_toolset_20260401",
            "default_config": off,
            "configs": [
                {"type": "bash", "name": "bash", "enabled": True, "permission_policy": ask},
                {"type": "web_search", "name": "web_search", **off, **search},
            ],
        },
        {
            "type": "mcp_toolset",
            "mcp_server_name": "git",
            "default_config": {"enabled": True, "permission_policy": ask},
            "configs": [{"name": "push", "enabled": False, "permission_policy": ask}],
        },
    ]


def test_url_sources_come_to_one_form() -> None:
    named = {"type": "only", "tools": [{"type": "tool_reference", "name": "look"}]}
    config = {"name": "web_fetch", "url_sources": {"user_input": "none", "client_tool_results": named}}
    (toolset,) = resolved_tools([{"type": "agent_toolset_20260401", "configs": [config]}])
    assert toolset["configs"][0]["url_sources"] == {
        "user_input": {"type": "none"},
        "client_tool_results": named,
        "server_tool_results": {"type": "all"},
    }


def test_manifests_hold_camel_case_and_no_nulls_and_schemas_as_they_are() -> None:
    tool = {"type": "custom", "name": "a", "description": "b", "input_schema": {"type": "object", "x_y": None}}
    shown = resolved_tools([{"type": "agent_toolset_20260401", "configs": [{"name": "web_fetch"}]}, tool])
    toolset, custom = spec_value(shown)
    assert set(toolset["configs"][0]) == {"type", "name", "enabled", "permissionPolicy"}
    assert custom["inputSchema"] == {"type": "object", "x_y": None}
    assert snapshot_for(agent(tools=[toolset, custom]), 0)["tools"] == shown


def test_a_version_is_made_for_each_change_and_for_nothing_else() -> None:
    first = next_revision(agent(), [])
    assert first is not None
    assert first == revision_for(agent(), 1)
    assert next_revision(agent(archived=True), [first]) is None
    second = next_revision(agent(system="new"), [first])
    assert second is not None
    assert (second["revision"], second["data"]["system"]) == (2, "new")
    assert second["metadata"]["name"] != first["metadata"]["name"]


def test_what_is_not_built_is_named() -> None:
    configs: list[dict[str, Any]] = [
        {"name": "web_fetch", "urlSources": {"userInput": {"type": "all"}}, "allowedDomains": ["example.com"]},
        {"name": "web_search"},
        {"name": "bash", "permissionPolicy": {"type": "auto"}},
    ]
    tool = {"type": "agent_toolset_20260401", "configs": configs}
    assert unsupported_fields(snapshot_for(agent(tools=[tool]), 0)) == (
        "spec.tools[0].configs[2].permissionPolicy (auto)",
    )
    assert unsupported_fields(snapshot_for(agent(tools=[{**tool, "configs": configs[:2]}]), 0)) == ()
