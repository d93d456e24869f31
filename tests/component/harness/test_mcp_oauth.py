"""MCP servers that want OAuth tokens: whole turns, with the official servers and a credential that the API stored."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from component.harness.test_mcp import ADD, TELL, UNRESTRICTED, _agent, _clean, _environment, _of
from managed_agents.contracts.clock import rfc3339
from managed_agents.contracts.egress import EgressRules
from support.kube import kind_of
from support.oauth_server import CLIENT, CLIENT_SECRET, OauthWorld, oauth_server
from support.requirements import requirement
from support.stack import Stack, script, stack_running
from support.vault_mount import Vault, oauth_credential, vault_at
from support.waiting import until

BASIC = "Basic Y2xpZW50JTIwb25lOnNlY3JldCUyRiUyNSUyNiUyQiUyMG9mJTIwdGhlJTIwY2xpZW50"


@pytest.fixture
async def world() -> AsyncIterator[OauthWorld]:
    async with oauth_server() as made:
        yield made


@asynccontextmanager
async def _stack(folder: Path, world: OauthWorld, auth: dict[str, Any]) -> AsyncIterator[tuple[Stack, Vault]]:
    """Run a session whose vault holds this credential."""
    config: dict[str, Any] = {"agent": _agent(world.mcp.url), "environment": _environment(UNRESTRICTED)}
    async with (
        stack_running(folder, egress=EgressRules(hosts={"localhost": world.port}), **config) as stack,
        vault_at(stack.server) as vault,
    ):
        await vault.store(auth)
        await stack.server.create("repair-42", vault_ids=[vault.id], **config)
        vault.files[stack.session] = folder / "credentials.json"
        stack.start_worker()
        yield stack, vault


def soon() -> str:
    """A time that the API takes and that is as good as over."""
    return rfc3339(datetime.now(UTC) + timedelta(seconds=3))


@requirement("mcp-oauth", "mcp-oauth-stored")
@pytest.mark.parametrize("client_auth", ["none", "client_secret_basic", "client_secret_post"])
async def test_a_token_that_is_about_to_end_is_renewed_before_it_is_used_and_stored(
    tmp_path: Path, world: OauthWorld, client_auth: str
) -> None:
    world.client_auth = client_auth
    auth = oauth_credential(world, expires_at=soon())
    async with _stack(tmp_path, world, auth) as (stack, vault):
        summary = await stack.turn(script(ADD, TELL))

        assert summary["last_message"]["text"] == "42"
        (asked,) = world.asked
        secret = {"client_secret": CLIENT_SECRET} if client_auth == "client_secret_post" else {}
        assert asked.form == {
            "grant_type": "refresh_token",
            "refresh_token": auth["refresh"]["refresh_token"],
            "client_id": CLIENT,
            "scope": "tools",
            "resource": world.mcp.url,
            **secret,
        }
        assert asked.authorization == (BASIC if client_auth == "client_secret_basic" else None)
        await until(lambda: vault.held()["access-token"] != auth["access_token"])
        held = vault.held()
        assert world.is_valid(held["access-token"])
        assert held["refresh-token"] not in (auth["refresh"]["refresh_token"], "")
        await until(lambda: stack.server.kube.list("vaults")[0]["spec"]["credentials"][0]["auth"]["expiresAt"] > soon())
        assert (await vault.shown())["auth"]["expires_at"] == held["expires-at"]
        events = str(await stack.events())
        assert not any(token in events for token in (*held.values(), CLIENT_SECRET) if len(token) > 8)
        assert await _of(stack, "session.error") == []
        await _clean(stack)


@requirement("mcp-oauth")
async def test_a_token_that_the_server_refuses_is_renewed_and_the_request_sent_once_more(
    tmp_path: Path, world: OauthWorld
) -> None:
    async with _stack(tmp_path, world, oauth_credential(world)) as (stack, _):
        await stack.turn(script(ADD, TELL))
        assert world.asked == []
        world.revoke_access()
        summary = await stack.turn(script(ADD, TELL))
        assert (summary["last_message"]["text"], world.mcp.effects) == ("42", ["add", "add"])
        assert len(world.asked) == 1
        assert await _of(stack, "session.error") == []
        await _clean(stack)


@requirement("mcp-oauth")
async def test_tokens_that_live_for_a_moment_serve_turn_after_turn(tmp_path: Path, world: OauthWorld) -> None:
    world.lifetime_seconds = 1
    async with _stack(tmp_path, world, oauth_credential(world)) as (stack, vault):
        for turn in range(3):
            summary = await stack.turn(script(ADD, TELL))
            assert (summary["last_message"]["text"], len(world.mcp.effects)) == ("42", turn + 1)
            await until(lambda: not world.is_valid(vault.held()["access-token"]))
        assert len(world.asked) >= 2
        assert world.reuses == 0
        assert await _of(stack, "session.error") == []


@requirement("mcp-oauth")
async def test_a_token_with_too_little_scope_is_renewed_with_the_credentials_own(
    tmp_path: Path, world: OauthWorld
) -> None:
    narrow = world.grant("other").access_token
    async with _stack(tmp_path, world, oauth_credential(world, access_token=narrow)) as (stack, _):
        summary = await stack.turn(script(ADD, TELL))
        assert summary["last_message"]["text"] == "42"
        assert [asked.form["scope"] for asked in world.asked] == ["tools"]
        assert await _of(stack, "session.error") == []


@requirement("mcp-oauth-refused", "mcp-missing", "credentials-fail")
async def test_a_grant_that_is_refused_is_told_of_and_a_new_one_mends_it(tmp_path: Path, world: OauthWorld) -> None:
    async with _stack(tmp_path, world, oauth_credential(world)) as (stack, vault):
        world.revoke_all()
        summary = await stack.turn(script({"text": "without"}))
        assert (summary["last_message"]["text"], summary["stop_reason"]["type"]) == ("without", "end_turn")
        (error,) = await _of(stack, "session.error")
        assert error["error"]["type"] == "mcp_authentication_failed_error"
        assert (error["error"]["mcp_server_name"], error["error"]["retry_status"]) == ("tracker", {"type": "retrying"})
        assert f"credential {vault.credential_id} cannot be renewed: localhost refused" in error["error"]["message"]
        assert "invalid_grant" in error["error"]["message"]
        await until(lambda: vault.reading().problem is not None)
        problem = vault.reading().problem
        assert problem is not None
        assert problem.reason == "CredentialRefreshFailed"
        assert problem.message == "spec.credentials[0].auth.refresh: localhost refused with invalid_grant"

        fresh = world.grant()
        refresh = {"refresh_token": fresh.refresh_token}
        await vault.update({"type": "mcp_oauth", "access_token": fresh.access_token, "refresh": refresh})
        assert vault.reading().problem is None
        summary = await stack.turn(script(ADD, TELL))
        assert summary["last_message"]["text"] == "42"
        assert len(await _of(stack, "session.error")) == 1
        await _clean(stack)


@requirement("mcp-oauth-refused", "credentials-fail")
async def test_a_grant_that_is_revoked_in_the_middle_of_a_session_is_told_of_in_that_turn(
    tmp_path: Path, world: OauthWorld
) -> None:
    async with _stack(tmp_path, world, oauth_credential(world)) as (stack, vault):
        await stack.turn(script(ADD, TELL))
        world.revoke_all()
        summary = await stack.turn(script(ADD, ADD, {"text": "went on"}))
        assert (summary["last_message"]["text"], world.mcp.effects) == ("went on", ["add"])
        (error,) = await _of(stack, "session.error")
        assert error["error"]["type"] == "mcp_authentication_failed_error"
        assert "localhost refused with invalid_grant" in error["error"]["message"]
        results = [result["is_error"] for result in await _of(stack, "agent.mcp_tool_result")]
        assert results == [False, True, True]
        await until(lambda: vault.reading().problem is not None)
        await _clean(stack)


@requirement("mcp-oauth-refused", "F23", "credentials-fail")
async def test_a_credential_whose_secret_is_gone_is_told_of_and_mended(tmp_path: Path, world: OauthWorld) -> None:
    async with _stack(tmp_path, world, oauth_credential(world)) as (stack, vault):
        (secret,) = stack.server.kube.list("secrets")
        data = dict(secret["data"])
        _write(stack, secret, dict.fromkeys(data))
        vault.mount()
        await stack.turn(script({"text": "without"}))
        (error,) = await _of(stack, "session.error")
        assert error["error"]["type"] == "mcp_authentication_failed_error"
        assert f"credential {vault.credential_id} cannot be used (SecretNotFound)" in error["error"]["message"]
        problem = vault.reading().problem
        assert problem is not None
        assert problem.reason == "SecretNotFound"
        _write(stack, secret, data)
        vault.mount()
        summary = await stack.turn(script(ADD, TELL))
        assert summary["last_message"]["text"] == "42"


@requirement("mcp-oauth-refused", "credentials-fail")
async def test_a_token_that_is_refused_and_has_no_refresh_is_told_of(tmp_path: Path, world: OauthWorld) -> None:
    auth = {key: value for key, value in oauth_credential(world).items() if key != "refresh"}
    async with _stack(tmp_path, world, auth) as (stack, vault):
        world.revoke_access()
        await stack.turn(script({"text": "without"}))
        (error,) = await _of(stack, "session.error")
        assert error["error"]["type"] == "mcp_authentication_failed_error"
        assert "which has no refresh; store a new access token" in error["error"]["message"]
        await vault.update({"type": "mcp_oauth", "access_token": world.grant().access_token})
        summary = await stack.turn(script(ADD, TELL))
        assert summary["last_message"]["text"] == "42"


def _write(stack: Stack, secret: dict[str, Any], data: dict[str, Any]) -> None:
    metadata = secret["metadata"]
    stack.server.kube.merge(kind_of("secrets"), metadata["namespace"], metadata["name"], {"data": data})
