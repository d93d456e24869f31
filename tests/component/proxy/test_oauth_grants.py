"""Grants of a vault that sessions share: proxies' renewals against a real token endpoint and a real server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import ClientSession
from yarl import URL

from managed_agents.contracts.clock import SystemClock
from managed_agents.contracts.egress import EgressRules
from managed_agents.proxy.egress_dns import Resolver
from managed_agents.proxy.egress_rules import Networking
from managed_agents.proxy.mcp_bearers import ARRIVAL_SECONDS, Bearers
from managed_agents.proxy.mcp_credentials import parse_credentials
from managed_agents.proxy.mcp_dialling import client_for
from managed_agents.proxy.oauth.renewals import RETRY_PAUSE_SECONDS, RenewalError
from managed_agents.proxy.oauth.server_grants import HttpServerGrants
from managed_agents.proxy.oauth.token_endpoint import HttpTokenEndpoint
from managed_agents.proxy.server_access import ServerAccess, parse_token
from managed_agents.proxy.watched_file import WatchedFile
from support.oauth_server import OauthWorld, oauth_server
from support.requirements import requirement
from support.server import TestServer, pod_token, server_in_process
from support.vault_mount import Vault, oauth_credential, vault_at
from support.waiting import until


@pytest.fixture
async def world() -> AsyncIterator[OauthWorld]:
    async with oauth_server() as made:
        yield made


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[TestServer]:
    async with server_in_process(tmp_path / "data") as made:
        yield made


class LeapingClock(SystemClock):
    """Runs, and leaps where a test wants a pause to be over."""

    leapt = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.leapt


@dataclass
class Shared:
    """A vault with one credential and the proxies of its sessions."""

    vault: Vault
    proxies: list[Bearers]
    auth: dict[str, Any]
    clock: LeapingClock

    async def refused(self, world: OauthWorld, proxy: Bearers, token: str) -> str:
        return await proxy.after_refusal(world.mcp.url, token, is_scope=False)


@asynccontextmanager
async def sharing(
    folder: Path, world: OauthWorld, server: TestServer, *, proxies: int = 1, rules: EgressRules | None = None
) -> AsyncIterator[Shared]:
    """Run proxies, each with a session of its own, that share the credential."""
    rules = rules or EgressRules(hosts={"localhost": world.port})
    async with AsyncExitStack() as stack:
        vault = await stack.enter_async_context(vault_at(server))
        auth = oauth_credential(world)
        await vault.store(auth)
        to_server = await stack.enter_async_context(ClientSession())
        client = await stack.enter_async_context(client_for(rules, Resolver().resolve))
        made, clock = [], LeapingClock()
        for number in range(proxies):
            session = await server.create(f"session-{number}", vault_ids=[vault.id])
            await server.register(session, f"pod-{number}")
            vault.files[session], token = folder / f"credentials-{number}.json", folder / f"token-{number}"
            token.write_text(pod_token(f"pod-{number}"))
            access = ServerAccess(URL(server.internal_url), WatchedFile(token, parse_token))
            endpoint, grants = HttpTokenEndpoint(client, rules), HttpServerGrants(to_server, access)
            file = WatchedFile(vault.files[session], parse_credentials)
            proxy = Bearers(file, endpoint, grants, clock)
            proxy.configure({"id": session, "vault_ids": [vault.id]}, Networking(is_limited=False))
            stack.push_async_callback(proxy.close)
            made.append(proxy)
        yield Shared(vault, made, auth, clock)


@requirement("mcp-oauth-shared")
async def test_sessions_that_renew_a_shared_grant_at_once_all_end_with_its_one_successor(
    tmp_path: Path, world: OauthWorld, server: TestServer
) -> None:
    async with sharing(tmp_path, world, server, proxies=4) as shared:
        for _ in range(3):
            tokens = [str(await proxy.bearer_for(world.mcp.url)) for proxy in shared.proxies]
            assert len(set(tokens)) == 1
            world.asked.clear()
            world.revoke_access()
            fresh = await asyncio.gather(*(shared.refused(world, proxy, tokens[0]) for proxy in shared.proxies))
            assert len(set(fresh)) == 1
            assert world.is_valid(fresh[0])
            await until(lambda token=fresh[0]: shared.vault.held()["access-token"] == token)  # type: ignore[misc]  # bound now
            assert (len(world.asked), world.reuses) == (1, 0)
            await until(lambda: _mounted(shared) == {shared.vault.held()["version"]})
            shared.clock.leapt += RETRY_PAUSE_SECONDS


def _mounted(shared: Shared) -> set[str]:
    return {orjson.loads(file.read_bytes())["credentials"][0]["version"] for file in shared.vault.files.values()}


@requirement("mcp-oauth-shared")
async def test_callers_of_one_session_share_a_refresh_and_one_that_leaves_does_not_end_it(
    tmp_path: Path, world: OauthWorld, server: TestServer
) -> None:
    async with sharing(tmp_path, world, server) as shared:
        [proxy], token = shared.proxies, str(await shared.proxies[0].bearer_for(world.mcp.url))
        world.revoke_access()
        world.gate.clear()
        callers = [asyncio.create_task(shared.refused(world, proxy, token)) for _ in range(20)]
        await until(lambda: len(world.asked) == 1)
        callers[0].cancel()
        await asyncio.gather(callers[0], return_exceptions=True)
        world.gate.set()
        found = await asyncio.gather(*callers[1:])
        assert (len(set(found)), len(world.asked)) == (1, 1)
        assert world.is_valid(found[0])
        await until(lambda: shared.vault.held()["access-token"] == found[0])


@requirement("mcp-oauth-shared", "mcp-oauth-stored")
async def test_a_rotation_during_a_refresh_wins_over_its_result(
    tmp_path: Path, world: OauthWorld, server: TestServer
) -> None:
    async with sharing(tmp_path, world, server) as shared:
        [proxy], token = shared.proxies, str(await shared.proxies[0].bearer_for(world.mcp.url))
        world.revoke_access()
        world.gate.clear()
        caller = asyncio.create_task(shared.refused(world, proxy, token))
        await until(lambda: len(world.asked) == 1)
        fresh = world.grant()
        refresh = {"refresh_token": fresh.refresh_token}
        await shared.vault.update({"type": "mcp_oauth", "access_token": fresh.access_token, "refresh": refresh})
        world.gate.set()
        assert world.is_valid(await caller)
        await proxy.close()  # waits for the write, which is refused
        assert shared.vault.held()["access-token"] == fresh.access_token
        shared.vault.mount()
        assert await proxy.bearer_for(world.mcp.url) == fresh.access_token


@requirement("mcp-oauth-stored")
async def test_a_grant_in_a_users_own_secret_stays_in_memory_until_the_secret_changes(
    tmp_path: Path, world: OauthWorld, server: TestServer
) -> None:
    async with sharing(tmp_path, world, server) as shared:
        [proxy], [file] = shared.proxies, shared.vault.files.values()
        await proxy.bearer_for(world.mcp.url)
        shared.vault.is_mounting = False
        document = orjson.loads(file.read_bytes())
        document["credentials"][0] |= {"write_back": False, "version": "seen1"}
        _replace(file, document)
        token = str(await proxy.bearer_for(world.mcp.url))
        world.revoke_access()
        fresh = await shared.refused(world, proxy, token)
        assert world.is_valid(fresh)
        assert await proxy.bearer_for(world.mcp.url) == fresh
        assert shared.vault.held()["access-token"] == shared.auth["access_token"]
        document["credentials"][0] |= {"version": "seen2", "access_token": "rotated"}
        _replace(file, document)
        assert await proxy.bearer_for(world.mcp.url) == "rotated"


@requirement("A18", "A23", "A24")
async def test_a_token_endpoint_is_judged_like_a_server_and_no_redirect_followed(
    tmp_path: Path, world: OauthWorld, server: TestServer
) -> None:
    world.answer = lambda _: 307
    async with sharing(tmp_path, world, server) as shared:
        [proxy], token = shared.proxies, str(await shared.proxies[0].bearer_for(world.mcp.url))
        with pytest.raises(RenewalError, match="answered with status 307; no redirect is followed"):
            await shared.refused(world, proxy, token)
        assert (len(world.asked), world.mcp.seen) == (1, [])
    async with sharing(tmp_path, world, server, rules=EgressRules(ports=(world.port,))) as shared:
        [proxy], token = shared.proxies, str(await shared.proxies[0].bearer_for(world.mcp.url))
        with pytest.raises(RenewalError, match="localhost is a name inside the cluster"):
            await shared.refused(world, proxy, token)
        assert len(world.asked) == 1


@requirement("mcp-oauth-refused")
async def test_a_token_endpoint_that_fails_is_not_asked_at_every_call(
    tmp_path: Path, world: OauthWorld, server: TestServer
) -> None:
    world.answer = lambda _: 503
    async with sharing(tmp_path, world, server) as shared:
        [proxy], token = shared.proxies, str(await shared.proxies[0].bearer_for(world.mcp.url))
        for _ in range(3):
            with pytest.raises(RenewalError, match="localhost answered with status 503"):
                await shared.refused(world, proxy, token)
        assert len(world.asked) == 1
        assert await proxy.bearer_for(world.mcp.url) == token


@requirement("vault-credentials")
async def test_a_call_waits_for_credentials_that_are_on_their_way_and_not_for_ever(
    tmp_path: Path, world: OauthWorld, server: TestServer
) -> None:
    async with sharing(tmp_path, world, server) as shared:
        [proxy], [file] = shared.proxies, shared.vault.files.values()
        shared.vault.is_mounting = False
        file.unlink(missing_ok=True)
        caller = asyncio.create_task(proxy.bearer_for(world.mcp.url))
        await asyncio.sleep(0)
        assert not caller.done()
        shared.vault.mount()
        assert await caller == shared.auth["access_token"]
        file.unlink()
        shared.clock.leapt += ARRIVAL_SECONDS
        assert await proxy.bearer_for(world.mcp.url) is None
        with pytest.raises(RenewalError, match="those of its vaults have not come"):
            await proxy.after_refusal(world.mcp.url, None, is_scope=False)


def _replace(file: Path, document: Any) -> None:
    fresh = file.with_suffix(".new")
    fresh.write_bytes(orjson.dumps(document))
    fresh.rename(file)
