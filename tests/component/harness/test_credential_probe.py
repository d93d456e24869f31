"""`mcp_oauth_validate`: a living session's proxy tries the credential at the official servers, and the API answers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from component.harness.test_mcp_oauth import _stack as oauth_stack
from managed_agents.proxy.oauth import probes
from managed_agents.server.services import credential_probes
from support.oauth_server import CLIENT_SECRET, OauthWorld, oauth_server
from support.requirements import requirement
from support.sdk_client import client_of
from support.stack import POD, Stack
from support.vault_mount import HEADERS, Vault, oauth_credential
from support.waiting import until


@pytest.fixture
async def world() -> AsyncIterator[OauthWorld]:
    async with oauth_server() as made:
        yield made


@asynccontextmanager
async def _living(folder: Path, world: OauthWorld, auth: dict[str, Any]) -> AsyncIterator[tuple[Stack, Vault]]:
    """Run a session whose harness is connected and whose proxy has the credential."""
    async with oauth_stack(folder, world, auth) as (stack, vault):
        assert stack.server.running is not None
        context = stack.server.running.context
        await until(lambda: context.leases.holder(stack.session) == POD)
        await until(vault.files[stack.session].exists)
        yield stack, vault


async def _validated(stack: Stack, vault: Vault) -> Any:
    async with client_of(stack.server) as client:
        return await client.beta.vaults.credentials.mcp_oauth_validate(vault.credential_id, vault_id=vault.id)


@requirement("mcp-oauth-probed")
async def test_a_credential_that_the_server_takes_is_valid_and_nothing_is_renewed(
    tmp_path: Path, world: OauthWorld
) -> None:
    async with _living(tmp_path, world, oauth_credential(world)) as (stack, vault):
        found = await _validated(stack, vault)
        assert (found.status, found.mcp_probe, found.refresh) == ("valid", None, None)
        assert (found.has_refresh_token, world.asked) == (True, [])
        assert [seen.method for seen in world.mcp.seen].count("POST") == 3
        assert not [event for event in await stack.events() if event["type"] == "session.error"]


@requirement("mcp-oauth-probed", "mcp-oauth-stored")
async def test_a_token_that_is_refused_is_renewed_by_the_probe_and_stored(tmp_path: Path, world: OauthWorld) -> None:
    auth = oauth_credential(world)
    async with _living(tmp_path, world, auth) as (stack, vault):
        world.revoke_access()
        one, two = await asyncio.gather(_validated(stack, vault), _validated(stack, vault))
        assert (one.status, one.mcp_probe, one.refresh.status) == ("valid", None, "succeeded")
        assert (two.status, len(world.asked), one.refresh.http_response) == ("valid", 1, None)
        await until(lambda: world.is_valid(vault.held()["access-token"]))
        assert vault.held()["refresh-token"] != auth["refresh"]["refresh_token"]


@requirement("mcp-oauth-probed", "A30")
async def test_a_grant_that_is_gone_is_invalid_and_the_answer_holds_no_secret(
    tmp_path: Path, world: OauthWorld
) -> None:
    world.client_auth = "client_secret_post"
    auth = oauth_credential(world)
    async with _living(tmp_path, world, auth) as (stack, vault):
        world.revoke_all()
        found = await _validated(stack, vault)
        assert (found.status, found.mcp_probe.method) == ("invalid", "initialize")
        assert found.mcp_probe.http_response.status_code == 401
        assert (found.refresh.status, found.refresh.http_response.status_code) == ("failed", 400)
        assert found.refresh.http_response.body == '{"error":"invalid_grant"}'
        assert found.refresh.http_response.body_truncated
        shown = found.model_dump_json()
        for secret in (auth["access_token"], auth["refresh"]["refresh_token"], CLIENT_SECRET):
            assert secret not in shown
        await until(lambda: vault.reading().problem is not None)

        fresh = world.grant()
        refresh = {"refresh_token": fresh.refresh_token}
        await vault.update({"type": "mcp_oauth", "access_token": fresh.access_token, "refresh": refresh})
        assert (await _validated(stack, vault)).status == "valid"


@requirement("mcp-oauth-probed")
async def test_a_refused_token_without_refresh_is_invalid(tmp_path: Path, world: OauthWorld) -> None:
    auth = {key: value for key, value in oauth_credential(world).items() if key != "refresh"}
    async with _living(tmp_path, world, auth) as (stack, vault):
        world.revoke_access()
        found = await _validated(stack, vault)
        assert (found.status, found.has_refresh_token) == ("invalid", False)
        assert (found.refresh.status, found.refresh.http_response) == ("no_refresh_token", None)


@requirement("mcp-oauth-probed")
@pytest.mark.parametrize(("status", "verdict"), [(403, "invalid"), (429, "unknown"), (503, "unknown")])
async def test_what_may_pass_is_unknown_and_what_is_refused_is_invalid(
    tmp_path: Path, world: OauthWorld, status: int, verdict: str
) -> None:
    async with _living(tmp_path, world, oauth_credential(world)) as (stack, vault):
        world.mcp.answer = lambda _: status
        found = await _validated(stack, vault)
        assert (found.status, found.refresh) == (verdict, None)
        assert (found.mcp_probe.method, found.mcp_probe.http_response.status_code) == ("initialize", status)
        assert (found.mcp_probe.http_response.body, world.asked) == ("no", [])


@requirement("mcp-oauth-probed")
async def test_a_token_endpoint_that_is_not_well_leaves_the_verdict_open(tmp_path: Path, world: OauthWorld) -> None:
    async with _living(tmp_path, world, oauth_credential(world)) as (stack, vault):
        world.revoke_access()
        world.answer = lambda _: 503
        found = await _validated(stack, vault)
        assert (found.status, found.refresh.status, found.refresh.http_response.status_code) == (
            "unknown",
            "failed",
            503,
        )


@requirement("mcp-oauth-probed")
async def test_a_server_that_may_not_be_dialled_is_unknown_and_never_reached(tmp_path: Path, world: OauthWorld) -> None:
    auth = oauth_credential(world, mcp_server_url=f"http://127.0.0.1:{world.port}/mcp")
    async with _living(tmp_path, world, auth) as (stack, vault):
        found = await _validated(stack, vault)
        assert (found.status, found.mcp_probe.method) == ("unknown", "initialize")
        assert (found.mcp_probe.http_response, found.refresh, world.mcp.seen) == (None, None, [])


@requirement("mcp-oauth-probed")
async def test_a_proxy_that_does_not_answer_is_waited_for_within_a_bound(
    tmp_path: Path, world: OauthWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credential_probes, "ASK_SECONDS", 0.2)
    async with _living(tmp_path, world, oauth_credential(world)) as (stack, vault):
        world.revoke_access()
        world.gate.clear()
        found = await _validated(stack, vault)
        assert (found.status, found.mcp_probe, found.refresh) == ("unknown", None, None)
        world.gate.set()


@requirement("mcp-oauth-probed")
async def test_where_no_session_lives_nothing_is_probed(tmp_path: Path, world: OauthWorld) -> None:
    async with _living(tmp_path, world, oauth_credential(world)) as (stack, vault):
        await stack.stop_worker()
        assert stack.server.running is not None
        leases = stack.server.running.context.leases
        await until(lambda: leases.holder(stack.session) is None)
        before = len(world.mcp.seen)
        assert (await _validated(stack, vault)).status == "unknown"
        assert len(world.mcp.seen) == before


@requirement("mcp-oauth-probed", "A30")
async def test_only_the_proxy_that_was_asked_may_answer(tmp_path: Path, world: OauthWorld) -> None:
    async with _living(tmp_path, world, oauth_credential(world)) as (stack, vault):
        said = {"probe": "0" * 32, "status": "valid"}
        path = f"/sessions/{stack.session}/credentials/{vault.credential_id}/probe"
        assert (await stack.server.harness(POD, "PUT", path, said))[0] == 404
        assert (await stack.server.harness("pod-2", "PUT", path, said))[0] == 403
        long = {"method": "initialize", "http_response": {"status_code": 401, "content_type": "", "body": "x" * 5000}}
        status, answer = await stack.server.harness(POD, "PUT", path, {**said, "mcp_probe": long})
        assert (status, answer["error"]["type"]) == (400, "invalid_request")


@requirement("mcp-oauth-probed")
async def test_a_version_that_is_not_mounted_yet_is_waited_for_and_no_older_one_tried(
    tmp_path: Path, world: OauthWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "MOUNT_SECONDS", 0.2)
    async with _living(tmp_path, world, oauth_credential(world)) as (stack, vault):
        assert (await _validated(stack, vault)).status == "valid"
        vault.is_mounting = False
        path = f"/vaults/{vault.id}/credentials/{vault.credential_id}"
        auth = {"type": "mcp_oauth", "access_token": world.grant().access_token}
        assert (await stack.server.user("POST", path, {"auth": auth}, headers=HEADERS))[0] == 200
        before = len(world.mcp.seen)
        assert ((await _validated(stack, vault)).status, len(world.mcp.seen)) == ("unknown", before)
        vault.is_mounting = True
        await until(lambda: auth["access_token"] in vault.files[stack.session].read_text())
        assert (await _validated(stack, vault)).status == "valid"
