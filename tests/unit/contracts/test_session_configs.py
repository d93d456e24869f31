"""A Session as one config: overrides, resources with stable ids, and nothing that depends on who asks."""

import copy
from typing import Any

import pytest

from managed_agents.contracts.api.model_providers import ProviderProblem, choose_provider, provider_config
from managed_agents.contracts.api.session_configs import session_config, with_overrides
from managed_agents.contracts.api.session_resources import (
    mount_path_of,
    resource_configs,
    unsupported_resources,
    upload_path_of,
)

SNAPSHOT: dict[str, Any] = {
    "type": "agent",
    "id": "agent_1",
    "version": 3,
    "name": "Bot",
    "system": "You repair.",
    "model": {"id": "m", "effort": {"type": "high"}},
    "tools": [{"type": "agent_toolset_20260401"}],
    "mcp_servers": [],
    "skills": [],
    "metadata": {"team": "a"},
}
SESSION: dict[str, Any] = {
    "metadata": {
        "name": "repair",
        "namespace": "team-a",
        "uid": "11111111-2222-3333-4444-555555555555",
        "generation": 2,
        "creationTimestamp": "2026-01-02T03:04:05Z",
    },
    "spec": {
        "agentRef": {"name": "bot", "version": 3},
        "environmentRef": {"name": "python"},
        "title": "Ticket",
        "metadata": {"ticketId": "42"},
        "budget": {"maxListCost": {"amount": "500", "currency": "USD"}},
        "resources": [{"type": "file", "fileId": "file_1", "mountPath": "/data/in.csv"}],
    },
}


def config(session: dict[str, Any]) -> dict[str, Any]:
    return session_config(
        session, session_id="sesn_1", snapshot=SNAPSHOT, environment={"id": "env_1"}, model_provider={"name": "p"}
    )


def test_a_session_becomes_one_config() -> None:
    made = config(SESSION)
    (resource,) = made.pop("resources")
    assert made == {
        "id": "sesn_1",
        "uid": "11111111-2222-3333-4444-555555555555",
        "namespace": "team-a",
        "name": "repair",
        "generation": 2,
        "created_at": "2026-01-02T03:04:05Z",
        "title": "Ticket",
        "metadata": {"ticketId": "42"},
        "budget": {"type": "limit", "max_list_cost": {"amount": "500", "currency": "USD"}},
        "agent": {key: value for key, value in SNAPSHOT.items() if key != "metadata"},
        "environment": {"id": "env_1"},
        "vault_ids": [],
        "model_provider": {"name": "p"},
    }
    assert (resource["file_id"], resource["mount_path"]) == ("file_1", "data/in.csv")


def test_overrides_replace_whole_and_empty_ones_clear() -> None:
    overrides = {
        "model": {"id": "other", "inferenceGeo": "us"},
        "system": "",
        "tools": [],
        "mcpServers": [{"type": "url", "name": "t", "url": "https://t"}],
    }
    agent = with_overrides(SNAPSHOT, overrides)
    assert agent["model"] == {"id": "other", "effort": None, "inference_geo": "us", "speed": "standard"}
    assert (agent["system"], agent["tools"], agent["skills"]) == (None, [], [])
    assert agent["mcp_servers"] == [{"type": "url", "name": "t", "url": "https://t"}]
    assert (agent["id"], agent["version"]) == ("agent_1", 3)


def test_the_keys_of_a_tools_schema_are_the_users_own() -> None:
    schema = {"type": "object", "properties": {"fooBar": {"type": "string"}}}
    tool = {"type": "custom", "name": "t", "description": "d", "inputSchema": schema}
    assert with_overrides(SNAPSHOT, {"tools": [tool]})["tools"][0]["input_schema"] == schema


def test_a_resource_keeps_its_id_while_others_come_and_go() -> None:
    one, two = {"type": "file", "fileId": "file_1"}, {"type": "file", "fileId": "file_2"}
    repository = {
        "type": "github_repository",
        "url": "https://github.com/acme/app",
        "checkout": {"type": "branch", "name": "main"},
    }
    before = {entry["id"] for entry in resource_configs("uid", [one, repository], "t")}
    after = [entry["id"] for entry in resource_configs("uid", [two, one, repository, one], "later")]
    assert before < set(after)
    assert len(after) == len(set(after)) == 3
    assert before.isdisjoint(entry["id"] for entry in resource_configs("other", [one, repository], "t"))


@pytest.mark.parametrize(
    ("given", "path", "shown"),
    [
        (None, None, "/mnt/session/uploads/file_1"),
        ("data.csv", "data.csv", "/mnt/session/uploads/data.csv"),
        ("/workspace/data.csv", "workspace/data.csv", "/mnt/session/uploads/workspace/data.csv"),
        ("/mnt/session/uploads/a/b", "a/b", "/mnt/session/uploads/a/b"),
        ("/mnt/session/uploads", None, "/mnt/session/uploads/file_1"),
    ],
)
def test_a_file_lies_below_the_uploads_folder(given: str | None, path: str | None, shown: str) -> None:
    resource = {"type": "file", "fileId": "file_1"} | ({"mountPath": given} if given else {})
    (entry,) = resource_configs("uid", [resource], "t")
    assert (upload_path_of(given), entry["mount_path"], mount_path_of(entry)) == (path, path, shown)


def test_a_repository_lies_in_the_workspace_under_its_name() -> None:
    (entry,) = resource_configs("uid", [{"type": "github_repository", "url": "https://git.example.com/a/app.git"}], "t")
    assert (entry["mount_path"], entry["checkout"], mount_path_of(entry)) == ("/workspace/app", None, "/workspace/app")


def test_memory_stores_are_not_built() -> None:
    found = unsupported_resources([{"type": "file"}, {"type": "memory_store"}])
    assert found == ("spec.resources[1] (memory_store)",)


def test_a_listed_model_beats_the_default_and_two_are_nobodys() -> None:
    listed = {"metadata": {"name": "a"}, "spec": {"models": [{"id": "m", "contextWindowTokens": 5}]}}
    default = {"metadata": {"name": "b"}, "spec": {"default": True}}
    assert choose_provider([default, listed], "m") is listed
    assert choose_provider([default, listed], "x") is default
    assert isinstance(choose_provider([listed], "x"), ProviderProblem)
    assert isinstance(choose_provider([listed, copy.deepcopy(listed)], "m"), ProviderProblem)
    assert provider_config(listed, "m") == {"name": "a", "list_price": None, "context_window_tokens": 5}
