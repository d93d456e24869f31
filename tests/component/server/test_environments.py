"""Environments over the API with the official SDK, and the same objects through kubectl's door."""

from typing import Any

import anthropic
import pytest

from support.kube import Manifest, kind_of
from support.server import TestServer
from support.waiting import until

NAMESPACE = "team-a"
KIND = kind_of("environments")
HEADERS = {"anthropic-workspace-id": NAMESPACE}
NO_PACKAGES: dict[str, Any] = {"apt": [], "cargo": [], "gem": [], "go": [], "npm": [], "pip": []}


def stored(server: TestServer) -> Manifest:
    (found,) = server.kube.list("environments")
    return found


def session_using(server: TestServer, environment: str, **spec: Any) -> None:
    body = {"agentRef": {"name": "bot"}, "environmentRef": {"name": environment}, **spec}
    server.kube.create(kind_of("sessions"), NAMESPACE, {"metadata": {"generateName": "s-"}, "spec": body})


async def test_create_shows_every_default(server: TestServer, client: anthropic.AsyncAnthropic) -> None:
    made = await client.beta.environments.create(name="Python 3", metadata={"a": "1"})
    manifest = stored(server)
    raw = made.to_dict(mode="json")
    assert raw == {
        "id": "env_" + manifest["metadata"]["uid"].replace("-", ""),
        "type": "environment",
        "name": "Python 3",
        "description": None,
        "config": {
            "type": "cloud",
            "networking": {"type": "unrestricted"},
            "packages": {"type": "packages", **NO_PACKAGES},
        },
        "metadata": {"a": "1"},
        "scope": "organization",
        "created_at": manifest["metadata"]["creationTimestamp"],
        "updated_at": manifest["metadata"]["creationTimestamp"],
        "archived_at": None,
    }
    assert manifest["metadata"]["name"].startswith("python-3-")
    assert manifest["spec"] == {
        "name": "Python 3",
        "config": {"type": "cloud", "networking": {"type": "unrestricted"}},
        "metadata": {"a": "1"},
    }
    assert (await client.beta.environments.retrieve(made.id)).to_dict(mode="json") == raw


async def test_an_update_keeps_nested_fields_that_are_left_out(
    server: TestServer, client: anthropic.AsyncAnthropic
) -> None:
    environments = client.beta.environments
    limited: Any = {"type": "limited", "allowed_hosts": ["a.example.com"], "allow_package_managers": True}
    made = await environments.create(
        name="python",
        description="old",
        config={
            "type": "cloud",
            "networking": limited,
            "packages": {"type": "packages", "pip": ["rich"], "npm": ["x"]},
        },
        metadata={"a": "1", "b": "2", "c": "3"},
    )
    changed = await environments.update(
        made.id,
        description="",
        config={
            "type": "cloud",
            "networking": {"type": "limited", "allow_mcp_servers": True},
            "packages": {"type": "packages", "npm": []},
        },
        metadata={"a": None, "b": "", "d": "4"},
    )
    assert changed.config.to_dict(mode="json") == {
        "type": "cloud",
        "networking": {**limited, "allow_mcp_servers": True},
        "packages": {"type": "packages", **NO_PACKAGES, "pip": ["rich"]},
    }
    assert (changed.name, changed.description, changed.metadata) == ("python", "", {"c": "3", "d": "4"})
    assert stored(server)["spec"]["config"]["packages"] == {"type": "packages", "pip": ["rich"]}
    cleared = await environments.update(made.id, description=None)
    assert cleared.description is None
    with pytest.raises(anthropic.BadRequestError, match=r"config\.packages\.pip: packages under limited"):
        await environments.update(
            made.id, config={"type": "cloud", "networking": {"type": "limited", "allow_package_managers": False}}
        )
    opened = await environments.update(made.id, config={"type": "cloud", "networking": {"type": "unrestricted"}})
    assert opened.config.to_dict(mode="json")["networking"] == {"type": "unrestricted"}
    written = server.kube.version
    assert await environments.update(made.id, name="python", metadata={}) == opened
    assert server.kube.version == written


async def test_refusals_carry_the_codes_that_clients_branch_on(client: anthropic.AsyncAnthropic) -> None:
    environments = client.beta.environments
    made = await environments.create(name="python")
    with pytest.raises(anthropic.BadRequestError) as changed:
        await environments.update(made.id, config={"type": "self_hosted"})
    assert changed.value.error_code == "invalid_config_type_change"
    archived = await environments.archive(made.id)
    assert archived.archived_at is not None
    assert await environments.archive(made.id) == archived
    with pytest.raises(anthropic.BadRequestError) as refused:
        await environments.update(made.id, name="other")
    assert refused.value.error_code == "environment_archived"
    with pytest.raises(anthropic.NotFoundError) as missing:
        await environments.retrieve("env_" + "0" * 32)
    assert missing.value.error_code == "environment_not_found"
    with pytest.raises(anthropic.BadRequestError) as crowded:
        await environments.create(name="b", metadata={str(index): "" for index in range(17)})
    assert crowded.value.error_code == "invalid_metadata"
    assert [item async for item in environments.list()] == []
    assert [item.id async for item in environments.list(include_archived=True)] == [made.id]


async def test_names_are_unique_among_the_living(client: anthropic.AsyncAnthropic) -> None:
    environments = client.beta.environments
    first = await environments.create(name="python")
    second = await environments.create(name="go")
    with pytest.raises(anthropic.ConflictError, match=first.id):
        await environments.create(name="python")
    with pytest.raises(anthropic.ConflictError, match=first.id):
        await environments.update(second.id, name="python")
    await environments.archive(first.id)
    assert (await environments.update(second.id, name="python")).name == "python"


async def test_self_hosted_is_kept_as_data(server: TestServer, client: anthropic.AsyncAnthropic) -> None:
    made = await client.beta.environments.create(name="mine", config={"type": "self_hosted"})
    assert made.config.to_dict(mode="json") == {"type": "self_hosted"}
    assert stored(server)["spec"]["config"] == {"type": "self_hosted"}
    status, answer = await server.user(
        "POST", f"/environments/{made.id}", {"config": {"type": "self_hosted", "packages": {}}}, headers=HEADERS
    )
    assert (status, answer["error"]["message"]) == (
        400,
        "config.packages: this field is not known here; remove it",
    )


async def test_delete_waits_for_the_sessions_that_use_it(server: TestServer, client: anthropic.AsyncAnthropic) -> None:
    environments = client.beta.environments
    made = await environments.create(name="python")
    name = stored(server)["metadata"]["name"]
    session_using(server, name, archived=True)
    session_using(server, name)
    session_using(server, "other")
    await until(lambda: len(server.objects.sessions.reflector) == 3)
    with pytest.raises(anthropic.BadRequestError, match="used by 1 session;"):
        await environments.delete(made.id)
    for session in server.kube.list("sessions"):
        server.kube.delete(kind_of("sessions"), NAMESPACE, session["metadata"]["name"], {})
    await until(lambda: len(server.objects.sessions.reflector) == 0)
    deleted = await environments.delete(made.id)
    assert deleted.to_dict() == {"id": made.id, "type": "environment_deleted"}
    assert server.kube.list("environments") == []
    with pytest.raises(anthropic.NotFoundError):
        await environments.delete(made.id)


async def test_both_doors_show_and_change_one_object(server: TestServer, client: anthropic.AsyncAnthropic) -> None:
    spec = {"sandbox": {"image": "python:3.12"}, "config": {"type": "cloud", "packages": {"pip": ["rich"]}}}
    written = [{"manager": "kubectl-edit", "time": "2031-01-02T03:04:05Z", "fieldsV1": {"f:spec": {}}}]
    body = {"metadata": {"name": "applied", "managedFields": written}, "spec": spec}
    applied = server.kube.create(KIND, NAMESPACE, body)
    environment_id = "env_" + applied["metadata"]["uid"].replace("-", "")
    await until(lambda: server.objects.environments.find(environment_id) is not None)
    shown = await client.beta.environments.retrieve(environment_id)
    assert (shown.name, shown.updated_at) == ("applied", "2031-01-02T03:04:05Z")
    await client.beta.environments.update(environment_id, description="by the API")
    assert server.kube.get("environments", NAMESPACE, "applied")["spec"] == spec | {"description": "by the API"}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "name: is required"),
        ({"name": ""}, "name: String should have at least 1 character"),
        ({"name": "a", "scope": "account"}, "scope: Input should be 'organization'; found 'account'"),
        ({"name": "a", "config": {"type": "vm"}}, "config: Input tag 'vm' found using 'type' does not match"),
        (
            {
                "name": "a",
                "config": {"type": "cloud", "networking": {"type": "limited", "allowed_hosts": ["https://a.b"]}},
            },
            "config.networking.allowed_hosts: entry 0: must be a host name in lower case",
        ),
        (
            {"name": "a", "config": {"type": "cloud", "packages": {"pip": ["-r x"]}}},
            "config.packages.pip.0: String should match pattern",
        ),
        ({"name": "a", "metadata": {"k" * 65: ""}}, "metadata." + "k" * 65 + ": String should have at most 64"),
        ({"name": "a", "unknown": 1}, "unknown: this field is not known here; remove it"),
    ],
)
async def test_bad_bodies_are_refused_by_the_path(server: TestServer, body: dict[str, Any], message: str) -> None:
    status, answer = await server.user("POST", "/environments", body, headers=HEADERS)
    assert (status, answer["error"]["type"]) == (400, "invalid_request_error")
    assert answer["error"]["message"].startswith(message), answer
    assert server.kube.list("environments") == []
