"""What vaults hold reaches the proxies of the sessions that name them; what is amiss is a condition."""

import base64
import json
from typing import Any

from component.operator.test_pools import WARM, leased, pods_of, pool, warm_harness
from managed_agents.contracts.api.vaults import credential_id_for, vault_id_of
from support.kube import ApiError, Manifest, kind_of
from support.operator_world import NAMESPACE, World, session_id
from support.requirements import requirement

CANARY = "canary-5c0e"


def bearer(name: str, secret: str, host: str = "wiki") -> dict[str, Any]:
    token = {"secretKeyRef": {"name": secret, "key": "token"}}
    return {"name": name, "auth": {"type": "static_bearer", "mcpServerUrl": f"https://{host}.example", "token": token}}


def keep(world: World, name: str, **values: str) -> None:
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    if name in world.names("secrets"):
        world.kube.merge(kind_of("secrets"), NAMESPACE, name, {"data": data})
    else:
        world.kube.create(kind_of("secrets"), NAMESPACE, {"metadata": {"name": name}, "data": data})


def held(world: World, deployment: str) -> dict[str, Any]:
    """Return the file that the proxy of a Deployment finds."""
    document: dict[str, Any] = json.loads(
        base64.b64decode(world.get("secrets", deployment)["data"]["credentials.json"])
    )
    return document


def tokens(world: World, deployment: str) -> list[str]:
    return [entry["token"] for entry in held(world, deployment)["credentials"]]


async def served(world: World, *vaults: str) -> str:
    """Start a session with these vaults and return the name of its Deployment."""
    world.session("repair", "Hello.", vaultRefs=[{"name": name} for name in vaults])
    await world.settle()
    [deployment] = world.names("deployments")
    return deployment


def every_kind() -> list[dict[str, Any]]:
    """Return credentials with all their fields, but the bearer's."""

    def at(key: str) -> dict[str, Any]:
        return {"secretKeyRef": {"name": "keys", "key": key}}

    client = {"type": "client_secret_basic", "clientSecret": at("client")}
    refresh = {"clientId": "i", "tokenEndpoint": "https://l.example", "refreshToken": at("refresh")}
    oauth = {"type": "mcp_oauth", "mcpServerUrl": "https://t.example", "accessToken": at("access")}
    oauth |= {"expiresAt": "2099-01-31T12:00:00Z", "refresh": refresh | {"tokenEndpointAuth": client}}
    variable = {"type": "environment_variable", "secretName": "KEY", "secretValue": at("value")}
    variable |= {"networking": {"type": "limited", "allowedHosts": ["a.example"]}}
    return [{"name": "tracker", "auth": oauth}, {"name": "key", "auth": variable}]


@requirement("vault-credentials")
async def test_proxy_gets_what_the_vaults_hold_in_their_order(operated: World) -> None:
    await operated.catalog()
    keep(operated, "keys", token=f"{CANARY}\n", access="a", refresh="r", client="c", value="v")
    one = operated.create("vaults", "one", {"credentials": every_kind()})
    keep(operated, "other", token="second")
    other = operated.create("vaults", "other", {"credentials": [bearer("wiki", "keys")]})
    operated.create("vaults", "last", {"credentials": [bearer("wiki", "other"), bearer("more", "other", "more")]})
    deployment = await served(operated, "one", "other", "last")
    session = operated.get("sessions", "repair")
    assert held(operated, deployment) == {
        "session_id": session_id(session),
        "generation": 1,
        "credentials": [
            {
                "id": credential_id_for(one, "tracker"),
                "vault_id": vault_id_of(one),
                "type": "mcp_oauth",
                "mcp_server_url": "https://t.example",
                "access_token": "a",
                "expires_at": "2099-01-31T12:00:00Z",
                "version": held(operated, deployment)["credentials"][0]["version"],
                "write_back": False,
                "refresh": {
                    "client_id": "i",
                    "token_endpoint": "https://l.example",
                    "refresh_token": "r",
                    "token_endpoint_auth": {"type": "client_secret_basic", "client_secret": "c"},
                },
            },
            {
                "id": credential_id_for(one, "key"),
                "vault_id": vault_id_of(one),
                "type": "environment_variable",
                "secret_name": "KEY",
                "secret_value": "v",
                "networking": {"type": "limited", "allowed_hosts": ["a.example"]},
                "injection_location": {"header": True, "body": True},
            },
            {
                "id": credential_id_for(other, "wiki"),
                "vault_id": vault_id_of(other),
                "type": "static_bearer",
                "mcp_server_url": "https://wiki.example",
                "token": CANARY,
            },
            {
                **held(operated, deployment)["credentials"][3],
                "token": "second",
                "mcp_server_url": "https://more.example",
            },
        ],
    }
    owner = operated.get("secrets", deployment)["metadata"]["ownerReferences"]
    assert [item["uid"] for item in owner] == [operated.get("deployments", deployment)["metadata"]["uid"]]
    config = await operated.server.running.context.log.config(session_id(session))  # type: ignore[union-attr]  # in this process
    assert config["vault_ids"] == [vault_id_of(operated.get("vaults", name)) for name in ("one", "other", "last")]
    assert operated.get("vaults", "one")["status"]["id"] == vault_id_of(one)
    assert operated.condition("vaults", "one", "Ready")["reason"] == "Valid"
    assert CANARY not in json.dumps([change.object for change in operated.kube.history if change.plural != "secrets"])


@requirement("vault-credentials")
async def test_a_secret_that_the_server_tells_of_is_brought_at_once(operated: World) -> None:
    await operated.catalog()
    keep(operated, "keys", token="first")
    operated.create("vaults", "team", {"credentials": [bearer("wiki", "keys")]})
    deployment = await served(operated, "team")
    keep(operated, "keys", token="second")
    await operated.settle()
    assert tokens(operated, deployment) == ["first"]  # Secrets are not watched
    told = {"metadata": {"annotations": {"managedagents.dev/credential-times": "{}"}}}
    operated.kube.merge(kind_of("vaults"), NAMESPACE, "team", told)
    await operated.settle()
    assert tokens(operated, deployment) == ["second"]


@requirement("vault-credentials", "F23")
async def test_rotation_archive_and_delete_reach_a_running_session(operated: World) -> None:
    await operated.catalog()
    keep(operated, "keys", token="old")
    operated.create("vaults", "team", {"credentials": [bearer("wiki", "keys")]})
    deployment = await served(operated, "team")
    assert tokens(operated, deployment) == ["old"]
    [pod] = [item for item in operated.kube.list("pods") if item["metadata"]["name"].startswith(deployment)]
    before = pod["metadata"].get("annotations", {}).get("managedagents.dev/credentials-hash")
    keep(operated, "keys", token="new")
    await operated.advance(20)
    assert tokens(operated, deployment) == ["new"]
    after = operated.get("pods", pod["metadata"]["name"])["metadata"]["annotations"][
        "managedagents.dev/credentials-hash"
    ]
    assert after != before
    writes = len([call for call in operated.api.writes() if call.resource == "secrets"])
    await operated.advance(40)
    assert len([call for call in operated.api.writes() if call.resource == "secrets"]) == writes
    operated.change("vaults", "team", {"credentials": [bearer("wiki", "keys") | {"archived": True}]})
    await operated.settle()
    assert tokens(operated, deployment) == []
    operated.change("vaults", "team", {"credentials": [bearer("again", "keys")]})
    await operated.settle()
    assert tokens(operated, deployment) == ["new"]
    operated.kube.delete(kind_of("vaults"), NAMESPACE, "team")
    await operated.settle()
    assert tokens(operated, deployment) == []
    assert operated.condition("sessions", "repair", "Ready")["reason"] == "Accepted"


@requirement("vault-credentials", "F23", "credentials-fail")
async def test_a_missing_secret_is_a_condition_and_the_session_runs_without_it(operated: World) -> None:
    await operated.catalog()
    keep(operated, "keys", token="t", empty="", broken="two words\nand lines")
    operated.create("vaults", "team", {"credentials": [bearer("gone", "none", "gone"), bearer("wiki", "keys")]})
    deployment = await served(operated, "team")
    assert tokens(operated, deployment) == ["t"]
    condition = operated.condition("vaults", "team", "Ready")
    assert (condition["status"], condition["reason"]) == ("False", "SecretNotFound")
    assert condition["message"].startswith('spec.credentials[0].auth.token.secretKeyRef.name: Secret "none" not found')
    assert operated.condition("sessions", "repair", "Ready")["status"] == "True"
    for key, said in (
        ("empty", "or it is empty"),
        ("lacking", 'has no key "lacking"'),
        ("broken", "that a header can carry"),
    ):
        broken = bearer("wiki", "keys")
        broken["auth"]["token"]["secretKeyRef"]["key"] = key
        operated.change("vaults", "team", {"credentials": [broken]})
        await operated.settle()
        assert said in operated.condition("vaults", "team", "Ready")["message"]
        assert tokens(operated, deployment) == []
    operated.api.fail("get", "secrets", ApiError(403, "Forbidden", "not yours"), times=9)
    await operated.advance(20)
    assert operated.condition("vaults", "team", "Ready")["reason"] == "SecretAccessDenied"
    operated.api.faults.clear()
    operated.change("vaults", "team", {"credentials": [bearer("wiki", "keys")]})
    await operated.settle()
    assert operated.condition("vaults", "team", "Ready")["reason"] == "Valid"


@requirement("mcp-oauth-refused", "F23", "credentials-fail")
async def test_a_grant_that_is_refused_or_has_ended_is_a_condition_until_it_is_mended(operated: World) -> None:
    await operated.catalog()
    keep(operated, "keys", access="a", refresh="r", client="c", value="v")
    oauth, _ = every_kind()
    operated.create("vaults", "team", {"credentials": [oauth, bearer("gone", "none", "gone")]})
    deployment = await served(operated, "team")
    [entry], [unusable] = held(operated, deployment)["credentials"], held(operated, deployment)["unusable"]
    assert (unusable["mcp_server_url"], unusable["reason"]) == ("https://gone.example", "SecretNotFound")
    operated.change("vaults", "team", {"credentials": [oauth]})
    problem = {"tracker": {"version": entry["version"], "message": "l.example refused"}}
    problem["tracker"] |= {"kind": "failed", "at": "2026-01-01T00:00:00Z"}
    note = {"managedagents.dev/credential-problems": json.dumps(problem)}
    operated.kube.merge(kind_of("vaults"), NAMESPACE, "team", {"metadata": {"annotations": note}})
    await operated.settle()
    condition = operated.condition("vaults", "team", "Ready")
    assert (condition["status"], condition["reason"]) == ("False", "CredentialRefreshFailed")
    assert condition["message"] == "spec.credentials[0].auth.refresh: l.example refused"
    keep(operated, "keys", refresh="r2")
    await operated.advance(20)
    assert operated.condition("vaults", "team", "Ready")["reason"] == "Valid"
    mended, [again] = entry["version"], held(operated, deployment)["credentials"]
    assert again["version"] != mended

    ended = {key: value for key, value in oauth["auth"].items() if key != "refresh"}
    ended["expiresAt"] = "2001-01-31T12:00:00Z"
    operated.change("vaults", "team", {"credentials": [{"name": "plain", "auth": ended}]})
    await operated.settle()
    condition = operated.condition("vaults", "team", "Ready")
    assert condition["reason"] == "CredentialExpired"
    assert "ended at 2001-01-31T12:00:00Z and there is no refresh" in condition["message"]
    assert [item["access_token"] for item in held(operated, deployment)["credentials"]] == ["a"]


@requirement("vault-credentials")
async def test_a_session_waits_for_a_vault_that_is_missing_or_archived(operated: World) -> None:
    await operated.catalog()
    operated.session("repair", "Hello.", vaultRefs=[{"name": "team"}])
    await operated.settle()
    condition = operated.condition("sessions", "repair", "Ready")
    assert condition["reason"] == "VaultNotFound"
    assert condition["message"].startswith('spec.vaultRefs[0].name: Vault "team" not found in namespace')
    operated.create("vaults", "team", {"archived": True})
    await operated.settle()
    assert operated.condition("sessions", "repair", "Ready")["reason"] == "Archived"
    operated.kube.delete(kind_of("vaults"), NAMESPACE, "team")
    operated.create("vaults", "team", {})
    await operated.settle()
    assert operated.condition("sessions", "repair", "Ready")["reason"] == "Accepted"


@requirement("vault-credentials", "warm-harness")
async def test_a_warm_harness_finds_its_sessions_credentials(operated: World) -> None:
    await operated.catalog(**WARM)
    keep(operated, "keys", token="t")
    operated.create("vaults", "team", {"credentials": [bearer("wiki", "keys")]})
    first, second = pool(operated)
    async with warm_harness(operated, first) as socket:
        operated.session("repair", "Hello.", vaultRefs=[{"name": "team"}])
        assert first not in operated.names("secrets")
        await operated.settle()
        await leased(operated, socket)
        assert tokens(operated, first) == ["t"]
        [pod] = pods_of(operated, first)
        assert pod["metadata"]["annotations"]["managedagents.dev/credentials-hash"]
        assert _mounts(pod) == {"proxy": first}
        assert second not in operated.names("secrets")


@requirement("vault-credentials")
async def test_a_session_of_the_api_has_its_vaults(operated: World) -> None:
    from component.operator.test_two_doors import api, catalog, only_session

    body = await catalog(operated)
    keep(operated, "keys", token="t")
    status, vault = await api(operated, "POST", "/vaults", {"display_name": "team"})
    assert status == 200
    auth = {"type": "static_bearer", "mcp_server_url": "https://wiki.example", "token": "api"}
    status, credential = await api(operated, "POST", f"/vaults/{vault['id']}/credentials", {"auth": auth})
    assert status == 200, credential
    go = {"type": "user.message", "content": [{"type": "text", "text": "Go."}]}
    status, made = await api(
        operated, "POST", "/sessions", {**body, "vault_ids": [vault["id"]], "initial_events": [go]}
    )
    assert (status, made["vault_ids"]) == (200, [vault["id"]])
    await operated.pull()
    assert only_session(operated)["spec"]["vaultRefs"] == [{"name": operated.names("vaults")[0]}]
    [deployment] = operated.names("deployments")
    assert held(operated, deployment)["credentials"] == [
        {
            "id": credential["id"],
            "vault_id": vault["id"],
            "type": "static_bearer",
            "mcp_server_url": "https://wiki.example",
            "token": "api",
        }
    ]
    assert (await api(operated, "GET", f"/sessions/{made['id']}"))[1]["vault_ids"] == [vault["id"]]
    twice = {**body, "vault_ids": [vault["id"], vault["id"]]}
    status, answer = await api(operated, "POST", "/sessions", twice)
    assert (status, answer["error"]["message"]) == (400, "vault_ids.1: repeats vault_ids.0")
    status, answer = await api(operated, "POST", "/sessions", {**body, "vault_ids": ["vlt_" + "0" * 32]})
    assert (status, answer["error"]["type"]) == (404, "not_found_error")
    await api(operated, "POST", f"/vaults/{vault['id']}/archive", {})
    status, answer = await api(operated, "POST", "/sessions", {**body, "vault_ids": [vault["id"]]})
    assert (status, answer["error"]["message"].partition(":")[0]) == (400, "vault_ids.0")
    await operated.settle()
    assert held(operated, deployment)["credentials"] == []


def _mounts(pod: Manifest) -> dict[str, str]:
    """Return the Secret that each container mounts as the session's credentials."""
    secrets = {item["name"]: item["secret"]["secretName"] for item in pod["spec"]["volumes"] if "secret" in item}
    containers = pod["spec"]["containers"]
    return {
        container["name"]: secrets[mount["name"]]
        for container in containers
        for mount in container["volumeMounts"]
        if mount["mountPath"] == "/var/run/managed-agents/vault"
    }
