"""What a proxy may do with the grants of its session's vaults, and how they are written."""

import json
from pathlib import Path
from typing import Any

import pytest

from support.kube import ApiError, kind_of
from support.requirements import requirement
from support.sdk_client import client_of
from support.server import TestServer, server_in_process
from support.vault_mount import HEADERS, Vault, vault_at
from support.waiting import until

AUTH: dict[str, Any] = {
    "type": "mcp_oauth",
    "mcp_server_url": "https://tracker.example/mcp",
    "access_token": "access-canary",
    "refresh": {
        "client_id": "client",
        "token_endpoint": "https://login.example/token",
        "refresh_token": "refresh-canary",
        "token_endpoint_auth": {"type": "none"},
    },
}
NEW = {"access_token": "access-new", "refresh_token": "refresh-new", "expires_at": "2099-01-31T12:00:00Z"}


async def _session(server: TestServer, vault: Vault, name: str = "repair-42", pod: str = "pod-1") -> str:
    session = await server.create(name, vault_ids=[vault.id])
    await server.register(session, pod)
    return session


async def _put(server: TestServer, session: str, vault: Vault, body: Any, *, pod: str = "pod-1") -> tuple[int, Any]:
    return await server.harness(pod, "PUT", f"/sessions/{session}/credentials/{vault.credential_id}/grant", body)


@requirement("mcp-oauth-stored", "A30")
async def test_a_grant_is_written_if_its_version_is_still_the_one_that_was_renewed(tmp_path: Path) -> None:
    async with server_in_process(tmp_path) as server, vault_at(server) as vault:
        await vault.store(AUTH)
        session = await _session(server, vault)
        first = vault.held()["version"]
        status, answer = await _put(server, session, vault, {"version": first, **NEW})
        assert status == 200, answer
        held = vault.held()
        assert held == {
            "access-token": "access-new",
            "refresh-token": "refresh-new",
            "expires-at": "2099-01-31T12:00:00Z",
            "version": answer["version"],
        }
        assert answer["version"] != first
        assert (await vault.shown())["auth"]["expires_at"] == "2099-01-31T12:00:00Z"
        status, answer = await _put(server, session, vault, {"version": first, **NEW, "access_token": "late"})
        assert (status, answer["error"]["type"]) == (409, "conflict")
        assert vault.held() == held
        without = {"version": held["version"], "access_token": "third"}
        status, answer = await _put(server, session, vault, without)
        assert (status, vault.held()["refresh-token"], vault.held()["expires-at"]) == (200, "refresh-new", "")
        calls = [call for call in server.kubernetes.api.calls if call.resource == "secrets"]
        assert {call.verb for call in calls} <= {"create", "patch"}
        assert "canary" not in json.dumps(server.kube.list("vaults"))


@requirement("mcp-oauth-stored")
async def test_a_proxy_reaches_the_grants_of_its_own_sessions_vaults_only(tmp_path: Path) -> None:
    async with server_in_process(tmp_path) as server, vault_at(server) as vault:
        await vault.store(AUTH)
        session = await _session(server, vault)
        other = await server.create("other")
        await server.register(other, "pod-2")
        before = vault.held()
        body = {"version": before["version"], **NEW}
        status, answer = await _put(server, session, vault, body, pod="pod-2")
        assert (status, answer["error"]["type"]) == (403, "not_registered")
        status, answer = await _put(server, other, vault, body, pod="pod-2")
        assert (status, answer["error"]["type"]) == (404, "not_found")
        path = f"/internal/v1/sessions/{session}/credentials/{vault.credential_id}/grant"
        assert (await server.call("PUT", f"{server.internal_url}{path}", "nobody", json=body))[0] == 401
        for wrong in (
            {**body, "access_token": "two words"},
            {**body, "refresh_token": ""},
            {**body, "expires_at": "x"},
        ):
            status, answer = await _put(server, session, vault, wrong)
            assert (status, answer["error"]["type"]) == (400, "invalid_request")
            assert "two words" not in answer["error"]["message"]
        assert vault.held() == before
        await server.user("POST", f"/vaults/{vault.id}/credentials/{vault.credential_id}/archive", headers=HEADERS)
        assert (await _put(server, session, vault, body))[0] == 404
        assert vault.held() == {}


@requirement("mcp-oauth-stored")
async def test_a_grant_of_a_users_own_secret_is_not_written(tmp_path: Path) -> None:
    async with server_in_process(tmp_path) as server, vault_at(server) as vault:
        await vault.store(AUTH)
        session = await _session(server, vault)
        (manifest,) = server.kube.list("vaults")
        credentials = json.loads(json.dumps(manifest["spec"]["credentials"]).replace("ma-vault.", "own."))
        patch = {"spec": {"credentials": credentials}}
        server.kube.merge(kind_of("vaults"), "team-a", manifest["metadata"]["name"], patch)
        await until(lambda: '"own.' in json.dumps(server.objects.vaults.get(vault.id)["spec"]))
        before = vault.held()
        status, answer = await _put(server, session, vault, {"version": before["version"], **NEW})
        assert (status, answer["error"]["type"]) == (403, "forbidden")
        assert vault.held() == before


@requirement("mcp-oauth-shared")
async def test_one_session_at_a_time_renews_a_grant_and_none_twice(tmp_path: Path) -> None:
    async with server_in_process(tmp_path) as server, vault_at(server) as vault:
        await vault.store(AUTH)
        one, two = await _session(server, vault), await _session(server, vault, "other", "pod-2")
        version = {"version": vault.held()["version"]}

        async def turn(session: str, pod: str, body: Any) -> int:
            path = f"/sessions/{session}/credentials/{vault.credential_id}/turn"
            return (await server.harness(pod, "POST", path, body))[0]

        assert await turn(one, "pod-1", version) == 200
        assert await turn(one, "pod-1", version) == 200
        assert await turn(two, "pod-2", version) == 409
        problem = f"/sessions/{one}/credentials/{vault.credential_id}/problem"
        assert (await server.harness("pod-1", "PUT", problem, {**version, "message": "refused"}))[0] == 200
        assert vault.reading().problem is not None
        assert await turn(two, "pod-2", version) == 200
        assert (await _put(server, two, vault, {**version, **NEW}, pod="pod-2"))[0] == 200
        assert vault.reading().problem is None
        assert await turn(one, "pod-1", version) == 409
        assert await turn(one, "pod-1", {"version": vault.held()["version"]}) == 200


@requirement("mcp-oauth-validated")
async def test_validation_tells_what_sessions_have_found(tmp_path: Path) -> None:
    async with server_in_process(tmp_path) as server, vault_at(server) as vault:
        await vault.store(AUTH)
        session = await _session(server, vault)
        async with client_of(server) as client:

            async def validated() -> Any:
                return await client.beta.vaults.credentials.mcp_oauth_validate(vault.credential_id, vault_id=vault.id)

            found = await validated()
            assert (found.status, found.refresh, found.has_refresh_token) == ("unknown", None, True)
            assert (found.type, found.credential_id) == ("vault_credential_validation", vault.credential_id)
            problem = f"/sessions/{session}/credentials/{vault.credential_id}/problem"
            said = {"version": vault.held()["version"], "message": "refused", "kind": "failed"}
            await server.harness("pod-1", "PUT", problem, said)
            found = await validated()
            assert (found.status, found.refresh.status) == ("invalid", "failed")
            await server.harness("pod-1", "PUT", problem, {**said, "kind": "connect_error"})
            assert (await validated()).status == "unknown"
            status, _ = await _put(server, session, vault, {"version": vault.held()["version"], **NEW})
            found = await validated()
            assert (status, found.status, found.refresh.status) == (200, "valid", "succeeded")
            await vault.update({"type": "mcp_oauth", "access_token": "another"})
            assert (await validated()).status == "unknown"


@requirement("mcp-oauth-stored")
@pytest.mark.parametrize(("fault", "status"), [(403, 403), (500, 503)])
async def test_a_write_that_the_cluster_refuses_changes_nothing(tmp_path: Path, fault: int, status: int) -> None:
    async with server_in_process(tmp_path) as server, vault_at(server) as vault:
        await vault.store(AUTH)
        session = await _session(server, vault)
        before = vault.held()
        server.kubernetes.api.fail("patch", "secrets", ApiError(fault, "Forbidden", "no"))
        assert (await _put(server, session, vault, {"version": before["version"], **NEW}))[0] == status
        assert vault.held() == before
        assert (await _put(server, session, vault, {"version": before["version"], **NEW}))[0] == 200
