"""Vaults over the API with the official SDK: what goes into them never comes out again, at either door."""

import base64
import json
from typing import Any

import anthropic
import pytest

from support.kube import ApiError, Manifest, kind_of
from support.requirements import requirement
from support.server import TestServer
from support.waiting import until

NAMESPACE = "team-a"
HEADERS = {"anthropic-workspace-id": NAMESPACE}
CANARY = "canary-7d1f"
BEARER: dict[str, Any] = {"type": "static_bearer", "mcp_server_url": "https://MCP.Example:443/mcp/", "token": CANARY}
OAUTH: dict[str, Any] = {
    "type": "mcp_oauth",
    "mcp_server_url": "https://tracker.example/mcp",
    "access_token": f"{CANARY}-access",
    "expires_at": "2099-01-31T12:00:00Z",
    "refresh": {
        "client_id": "client",
        "token_endpoint": "https://login.example/token",
        "refresh_token": f"{CANARY}-refresh",
        "token_endpoint_auth": {"type": "client_secret_post", "client_secret": f"{CANARY}-client"},
        "scope": "read",
    },
}
VARIABLE: dict[str, Any] = {
    "type": "environment_variable",
    "secret_name": "WEATHER_KEY",
    "secret_value": f"{CANARY}-value",
    "networking": {"type": "limited", "allowed_hosts": ["*.weather.example"]},
}


def stored(server: TestServer, plural: str = "vaults") -> Manifest:
    (found,) = server.kube.list(plural)
    return found


def held(server: TestServer) -> dict[str, str]:
    """Return what the Secret holds, by the key without its credential's name; versions are random."""
    data = stored(server, "secrets").get("data") or {}
    found = {key.rpartition(".")[2]: base64.b64decode(value).decode() for key, value in data.items()}
    return {key: value for key, value in found.items() if key != "version"}


async def test_a_vault_is_one_object_at_both_doors(server: TestServer, client: anthropic.AsyncAnthropic) -> None:
    vaults = client.beta.vaults
    made = await vaults.create(display_name="The team's", metadata={"a": "1"})
    manifest = stored(server)
    assert made.to_dict(mode="json") == {
        "id": "vlt_" + manifest["metadata"]["uid"].replace("-", ""),
        "type": "vault",
        "display_name": "The team's",
        "metadata": {"a": "1"},
        "created_at": manifest["metadata"]["creationTimestamp"],
        "updated_at": manifest["metadata"]["creationTimestamp"],
        "archived_at": None,
    }
    changed = await vaults.update(made.id, display_name="Ours", metadata={"a": None, "b": "2"})
    assert (changed.display_name, changed.metadata) == ("Ours", {"b": "2"})
    applied = server.kube.create(
        kind_of("vaults"),
        NAMESPACE,
        {"metadata": {"name": "team"}, "spec": {"credentials": [_applied("wiki", "static_bearer")]}},
    )
    vault_id = "vlt_" + applied["metadata"]["uid"].replace("-", "")
    await until(lambda: server.objects.vaults.find(vault_id) is not None)
    assert (await vaults.retrieve(vault_id)).display_name == "team"
    (credential,) = [item async for item in vaults.credentials.list(vault_id)]
    assert credential.auth.to_dict() == {"type": "static_bearer", "mcp_server_url": "https://wiki.example"}
    renamed = await vaults.credentials.update(credential.id, vault_id=vault_id, display_name="Wiki")
    assert (renamed.id, renamed.display_name) == (credential.id, "Wiki")
    auth: Any = {"type": "static_bearer", "token": "x"}
    with pytest.raises(anthropic.BadRequestError, match='kept in Secret "keys"; change it and the Vault there'):
        await vaults.credentials.update(credential.id, vault_id=vault_id, auth=auth)
    assert {item.id async for item in vaults.list()} == {made.id, vault_id}
    deleted = await vaults.delete(made.id)
    assert deleted.to_dict() == {"id": made.id, "type": "vault_deleted"}
    with pytest.raises(anthropic.NotFoundError):
        await vaults.retrieve(made.id)


@requirement("A30")
async def test_secrets_are_written_and_never_answered(server: TestServer, client: anthropic.AsyncAnthropic) -> None:
    vault = await client.beta.vaults.create(display_name="keys")
    credentials = client.beta.vaults.credentials
    auths: list[Any] = [BEARER, OAUTH, VARIABLE]
    made = [await credentials.create(vault.id, auth=auth) for auth in auths]
    assert held(server) == {
        "token": CANARY,
        "access-token": f"{CANARY}-access",
        "expires-at": "2099-01-31T12:00:00Z",
        "refresh-token": f"{CANARY}-refresh",
        "client-secret": f"{CANARY}-client",
        "secret-value": f"{CANARY}-value",
    }
    secret = stored(server, "secrets")
    assert secret["metadata"]["name"].startswith("ma-vault.")
    assert secret["metadata"]["labels"]["managedagents.dev/vault"] == stored(server)["metadata"]["name"]
    assert secret["metadata"]["ownerReferences"][0]["uid"] == stored(server)["metadata"]["uid"]
    said = [item.to_dict(mode="json") for item in made]
    said += [(await credentials.retrieve(item.id, vault_id=vault.id)).to_dict(mode="json") for item in made]
    said += [item.to_dict(mode="json") async for item in credentials.list(vault.id)]
    said += [(await credentials.update(made[0].id, vault_id=vault.id, metadata={"a": "1"})).to_dict(mode="json")]
    assert CANARY not in json.dumps([said, stored(server)])
    assert not [call for call in server.kubernetes.api.calls if call.resource == "secrets" and call.verb in READS]
    bearer, oauth, variable = (item["auth"] for item in said[:3])
    assert bearer == {"type": "static_bearer", "mcp_server_url": "https://mcp.example/mcp"}
    assert oauth == {
        "type": "mcp_oauth",
        "mcp_server_url": "https://tracker.example/mcp",
        "expires_at": "2099-01-31T12:00:00Z",
        "refresh": {
            "client_id": "client",
            "token_endpoint": "https://login.example/token",
            "token_endpoint_auth": {"type": "client_secret_post"},
            "resource": None,
            "scope": "read",
        },
    }
    assert variable == {
        "type": "environment_variable",
        "secret_name": "WEATHER_KEY",
        "networking": {"type": "limited", "allowed_hosts": ["*.weather.example"]},
        "injection_location": {"header": True, "body": True},
    }


READS = ("get", "list", "watch")


async def test_a_new_secret_takes_the_old_ones_place(server: TestServer, client: anthropic.AsyncAnthropic) -> None:
    vault = await client.beta.vaults.create(display_name="keys")
    credentials = client.beta.vaults.credentials
    made = await credentials.create(vault.id, auth=_any(OAUTH))
    before = stored(server)
    refresh = {"refresh_token": "r2", "scope": "", "token_endpoint_auth": {"type": "client_secret_post"}}
    auth = {"type": "mcp_oauth", "access_token": "a2", "expires_at": None, "refresh": refresh}
    changed = await credentials.update(made.id, vault_id=vault.id, auth=_any(auth))
    assert changed.created_at == made.created_at
    assert changed.auth.to_dict()["expires_at"] is None
    shown: dict[str, Any] = changed.auth.to_dict()
    assert shown["refresh"]["scope"] is None
    kept = {"refresh-token": "r2", "client-secret": f"{CANARY}-client", "expires-at": ""}
    assert held(server) == {"access-token": "a2", **kept}
    rotated = await credentials.update(
        made.id, vault_id=vault.id, auth=_any({"type": "mcp_oauth", "access_token": "a3"})
    )
    assert held(server)["access-token"] == "a3"
    assert rotated.updated_at > made.updated_at
    assert stored(server)["spec"]["credentials"][0]["name"] == before["spec"]["credentials"][0]["name"]
    version = server.kube.version
    await credentials.update(made.id, vault_id=vault.id, display_name=None)
    assert server.kube.version == version
    variable = await credentials.create(vault.id, auth=_any(VARIABLE))
    moved = await credentials.update(
        variable.id,
        vault_id=vault.id,
        auth=_any({"type": "environment_variable", "injection_location": {"body": False}}),
    )
    assert moved.auth.to_dict()["injection_location"] == {"header": True, "body": False}
    nowhere = {"type": "environment_variable", "injection_location": {"header": False}}
    with pytest.raises(anthropic.BadRequestError, match=r"auth\.injection_location: header or body must be true"):
        await credentials.update(variable.id, vault_id=vault.id, auth=_any(nowhere))
    with pytest.raises(anthropic.BadRequestError, match=r"auth\.type: cannot change"):
        await credentials.update(variable.id, vault_id=vault.id, auth=_any({"type": "static_bearer", "token": "x"}))


@requirement("A30")
async def test_archive_purges_secrets_and_keeps_records(server: TestServer, client: anthropic.AsyncAnthropic) -> None:
    vault = await client.beta.vaults.create(display_name="keys")
    credentials = client.beta.vaults.credentials
    first = await credentials.create(vault.id, auth=_any(BEARER))
    second = await credentials.create(vault.id, auth=_any(VARIABLE))
    with pytest.raises(anthropic.ConflictError, match=rf"auth\.mcp_server_url: {first.id}"):
        await credentials.create(vault.id, auth=_any({**BEARER, "mcp_server_url": "https://mcp.example/mcp"}))
    assert sorted(held(server)) == ["secret-value", "token"]
    archived = await credentials.archive(first.id, vault_id=vault.id)
    assert archived.archived_at is not None
    assert await credentials.archive(first.id, vault_id=vault.id) == archived
    assert sorted(held(server)) == ["secret-value"]
    assert [item.id async for item in credentials.list(vault.id)] == [second.id]
    with pytest.raises(anthropic.BadRequestError, match="is archived and cannot change"):
        await credentials.update(first.id, vault_id=vault.id, display_name="x")
    again = await credentials.create(vault.id, auth=_any(BEARER))
    assert sorted(held(server)) == ["secret-value", "token"]
    deleted = await credentials.delete(again.id, vault_id=vault.id)
    assert deleted.to_dict() == {"id": again.id, "type": "vault_credential_deleted"}
    assert sorted(held(server)) == ["secret-value"]
    with pytest.raises(anthropic.NotFoundError):
        await credentials.retrieve(again.id, vault_id=vault.id)
    gone = await client.beta.vaults.archive(vault.id)
    assert gone.archived_at is not None
    assert await client.beta.vaults.archive(vault.id) == gone
    assert held(server) == {}
    assert CANARY not in json.dumps(server.kube.list("secrets"))
    listed = [item async for item in credentials.list(vault.id, include_archived=True)]
    assert {item.id for item in listed} == {first.id, second.id}
    assert [item async for item in client.beta.vaults.list()] == []
    for call in (
        client.beta.vaults.update(vault.id, display_name="x"),
        credentials.create(vault.id, auth=_any(OAUTH)),
    ):
        with pytest.raises(anthropic.BadRequestError, match="is archived and cannot change"):
            await call


async def test_a_namespace_without_the_right_to_store_secrets_is_told_so(
    server: TestServer, client: anthropic.AsyncAnthropic
) -> None:
    vault = await client.beta.vaults.create(display_name="keys")
    refusal = ApiError(403, "Forbidden", 'User "server" cannot patch resource "secrets"')
    server.kubernetes.api.fail("patch", "secrets", refusal)
    with pytest.raises(anthropic.PermissionDeniedError, match="an administrator applies manifests/tenant"):
        await client.beta.vaults.credentials.create(vault.id, auth=_any(BEARER))
    assert "credentials" not in stored(server)["spec"]


async def test_a_credential_that_is_refused_leaves_no_secret(
    server: TestServer, client: anthropic.AsyncAnthropic
) -> None:
    vault = await client.beta.vaults.create(display_name="keys")
    server.kubernetes.api.fail("patch", "vaults", ApiError(422, "Invalid", "spec: too large"))
    with pytest.raises(anthropic.BadRequestError, match="too large"):
        await client.beta.vaults.credentials.create(vault.id, auth=_any(BEARER))
    assert held(server) == {}


@requirement("A25", "A30")
@pytest.mark.parametrize(
    ("auth", "message"),
    [
        ({**BEARER, "token": f"{CANARY} two"}, "auth.token: must be printable ASCII without spaces"),
        ({**BEARER, "token": 5}, "auth.token: Input should be a valid string"),
        ({**BEARER, "token": f"{CANARY}" * 2000}, "auth.token: must have at most 8192 bytes"),
        ({**BEARER, "mcp_server_url": "mcp.example"}, "auth.mcp_server_url: String should match pattern"),
        ({**OAUTH, "expires_at": "2001-01-31T12:00:00Z"}, "auth.expires_at: must be in the future"),
        ({**OAUTH, "expires_at": "soon"}, "auth.expires_at: must be an RFC 3339 time"),
        ({**VARIABLE, "injection_location": None}, "auth.injection_location: "),
        ({**VARIABLE, "injection_location": {}}, "auth.injection_location: header or body must be true"),
        (
            {**VARIABLE, "networking": {"type": "limited", "allowed_hosts": ["a.example", "*"]}},
            "auth.networking.allowed_hosts: entry 1: must be a host name",
        ),
        (
            {**VARIABLE, "networking": {"type": "limited", "allowed_hosts": ["*.com"]}},
            "auth.networking.allowed_hosts: entry 0: must be a host name",
        ),
        (
            {**VARIABLE, "networking": {"type": "limited", "allowed_hosts": ["*.co.uk"]}},
            "auth.networking.allowed_hosts: entry 0: is a registry's suffix",
        ),
        ({**VARIABLE, "secret_name": "A-B"}, "auth.secret_name: String should match pattern"),
        ({"type": "password"}, "auth: Input tag 'password' found"),
    ],
)
async def test_a_bad_credential_is_refused_by_its_path_and_not_repeated(
    server: TestServer, auth: dict[str, Any], message: str
) -> None:
    vault = (await server.user("POST", "/vaults", {"display_name": "keys"}, headers=HEADERS))[1]
    path = f"/vaults/{vault['id']}/credentials"
    status, answer = await server.user("POST", path, {"auth": auth}, headers=HEADERS)
    assert (status, answer["error"]["type"]) == (400, "invalid_request_error")
    assert answer["error"]["message"].startswith(message), answer
    assert CANARY not in answer["error"]["message"]
    assert server.kube.list("secrets") == []


def _applied(name: str, kind: str) -> dict[str, Any]:
    token = {"secretKeyRef": {"name": "keys", "key": name}}
    return {"name": name, "auth": {"type": kind, "mcpServerUrl": f"https://{name}.example", "token": token}}


def _any(auth: dict[str, Any]) -> Any:
    return auth
