"""A stream ends soon after the credential that opened it, and other streams go on."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from managed_agents.contracts.clock import rfc3339
from managed_agents.server.services.authenticator import CACHE_SECONDS
from managed_agents.server.services.stream_guards import ACCESS_SECONDS
from support.clock import ManualClock
from support.kube import kind_of
from support.server import WAIT_SECONDS, TestServer, server_in_process
from support.streams import Reader, reading, send
from support.waiting import until

KEY = "sk-ma-0123456789"
TOKEN = "ci-token"


def account(**changes: Any) -> dict[str, Any]:
    return {"authenticated": True, "user": {"username": "system:serviceaccount:team-a:ci"}, **changes}


async def grant(server: TestServer, **spec: Any) -> None:
    body = {"metadata": {"name": "ci"}, "spec": {"sha256": hashlib.sha256(KEY.encode()).hexdigest(), **spec}}
    server.kube.create(kind_of("apikeys"), "team-a", body)
    await until(lambda: server.objects.api_keys.by_name("team-a", "ci") is not None)


@contextlib.asynccontextmanager
async def two_streams(server: TestServer, session: str, credential: str) -> AsyncIterator[tuple[Reader, Reader]]:
    """A stream of that credential, and one of a user whose token stays."""
    async with (
        reading(server, session, Authorization=f"Bearer {credential}") as watched,
        reading(server, session) as other,
    ):
        yield watched, other


async def check_ends_alone(server: TestServer, session: str, watched: Reader, other: Reader) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        assert await watched.rest() == []
    await send(server, session, "later")
    assert [event["type"] for event in await other.take(1)] == ["user.message"]
    assert server.running is not None
    assert len(server.running.context.guards) == 1


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def timed(tmp_path: Path, clock: ManualClock) -> AsyncIterator[TestServer]:
    async with server_in_process(tmp_path, clock=clock, stream_heartbeat_seconds=0.05) as running:
        yield running


async def test_a_revoked_key_ends_its_stream(server: TestServer) -> None:
    session = await server.create()
    await grant(server)
    async with two_streams(server, session, KEY) as (watched, other):
        server.kube.delete(kind_of("apikeys"), "team-a", "ci")
        await check_ends_alone(server, session, watched, other)


async def test_an_expired_key_ends_its_stream(timed: TestServer, clock: ManualClock) -> None:
    session = await timed.create()
    await grant(timed, expiresAt=rfc3339(clock.now() + timedelta(seconds=5)))
    async with two_streams(timed, session, KEY) as (watched, other):
        clock.advance(5)
        await check_ends_alone(timed, session, watched, other)


async def test_a_deleted_accounts_token_ends_its_stream(timed: TestServer, clock: ManualClock) -> None:
    session = await timed.create()
    timed.kubernetes.extra_tokens[TOKEN] = account()
    async with two_streams(timed, session, TOKEN) as (watched, other):
        timed.kubernetes.extra_tokens[TOKEN] = {"authenticated": False}
        clock.advance(CACHE_SECONDS)
        await check_ends_alone(timed, session, watched, other)


async def test_a_permission_that_was_taken_away_ends_its_stream(timed: TestServer, clock: ManualClock) -> None:
    session = await timed.create()
    timed.kubernetes.extra_tokens[TOKEN] = account()
    async with two_streams(timed, session, TOKEN) as (watched, other):
        timed.kubernetes.allowed = lambda spec: spec["user"] == "alice"
        clock.advance(ACCESS_SECONDS)
        await check_ends_alone(timed, session, watched, other)


async def test_streams_go_on_while_kubernetes_is_away(timed: TestServer, clock: ManualClock) -> None:
    session = await timed.create()
    async with reading(timed, session) as reader:
        assert timed.running is not None
        guards = timed.running.context.guards
        timed.kubernetes.down = True
        clock.advance(ACCESS_SECONDS)
        await guards.check_tokens()
        timed.kubernetes.down = False
        await send(timed, session, "later")
        assert len(await reader.take(1)) == 1
