"""What one namespace may ask for, and what it hears when it asks for more."""

import asyncio
import contextlib
from pathlib import Path
from urllib.parse import urlsplit

import anthropic
import pytest

from managed_agents.contracts.limits import EVENT_BODY_BYTES_MAX
from managed_agents.server.services.review_budget import PEER_PER_MINUTE
from support.clock import ManualClock
from support.server import USER_TOKEN, WAIT_SECONDS, TestServer, message, server_in_process
from support.waiting import until


async def test_more_writes_than_allowed_are_refused_until_there_is_room(tmp_path: Path) -> None:
    clock = ManualClock()
    async with server_in_process(tmp_path, clock=clock, writes_per_minute=2) as server:
        session = await server.create()
        url = f"{server.public_url}/v1/sessions/{session}/events"
        headers = {"Authorization": f"Bearer {USER_TOKEN}"}
        for expected in (200, 200, 429):
            async with server.http.post(url, json={"events": [message("hi")]}, headers=headers) as response:
                answer = await response.json()
                assert response.status == expected, answer
        assert answer["error"]["type"] == "rate_limit_error"
        assert response.headers["retry-after"] == "30"
        assert answer["request_id"] == response.headers["request-id"]
        assert (await server.user("GET", f"/sessions/{session}/events"))[0] == 200
        clock.advance(30)
        assert (await server.user("POST", f"/sessions/{session}/events", {"events": [message("hi")]}))[0] == 200


async def test_the_sdk_raises_a_rate_limit_error(tmp_path: Path) -> None:
    async with server_in_process(tmp_path, clock=ManualClock(), reads_per_minute=1) as server:
        session = await server.create()
        async with anthropic.AsyncAnthropic(base_url=server.public_url, api_key=USER_TOKEN, max_retries=0) as client:
            await client.beta.sessions.events.list(session)
            with pytest.raises(anthropic.RateLimitError):
                await client.beta.sessions.events.list(session)


async def test_one_stream_too_many_is_refused_and_a_closed_one_makes_room(tmp_path: Path) -> None:
    async with server_in_process(tmp_path, streams_max=1) as server:
        session = await server.create()
        url = f"{server.public_url}/v1/sessions/{session}/events/stream"
        headers = {"Authorization": f"Bearer {USER_TOKEN}"}
        async with server.http.get(url, headers=headers) as first:
            assert first.status == 200
            async with server.http.get(url, headers=headers) as second:
                assert (second.status, (await second.json())["error"]["type"]) == (429, "rate_limit_error")
        assert server.running is not None
        limits = server.running.context.limits
        await until(lambda: not limits._streams, WAIT_SECONDS)
        async with server.http.get(url, headers=headers) as third:
            assert third.status == 200


async def announce(server: TestServer, session: str, size: int) -> asyncio.StreamWriter:
    """Begin a request with a body of that size, which never comes."""
    address = urlsplit(server.public_url)
    _, writer = await asyncio.open_connection(address.hostname, address.port)
    head = f"POST /v1/sessions/{session}/events HTTP/1.1\r\nHost: x\r\nX-Api-Key: {USER_TOKEN}\r\n"
    writer.write(f"{head}Content-Type: application/json\r\nContent-Length: {size}\r\n\r\n".encode())
    await writer.drain()
    return writer


async def test_one_tenants_large_bodies_leave_room_for_anothers(server: TestServer) -> None:
    session = await server.create()
    other = {"authenticated": True, "user": {"username": "system:serviceaccount:team-b:ci"}}
    server.kubernetes.extra_tokens["other"] = other
    url, body = f"{server.public_url}/v1/sessions/{session}/events", {"events": [message("hi")]}
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(4):
            stack.callback((await announce(server, session, EVENT_BODY_BYTES_MAX)).close)
        assert server.running is not None
        held = server.running.context.limits._body_bytes
        await until(lambda: held.get("user alice") == 2 * EVENT_BODY_BYTES_MAX)
        headers = {"X-Api-Key": USER_TOKEN}
        async with server.http.post(url, json=body, headers=headers) as refused:
            assert (refused.status, (await refused.json())["error"]["type"]) == (429, "rate_limit_error")
            assert refused.headers["retry-after"] == "1"
        assert (await server.call("POST", url, "other", json=body))[0] == 200
    await until(lambda: not held)
    assert (await server.user("POST", f"/sessions/{session}/events", body))[0] == 200


async def test_who_tries_tokens_is_refused_and_known_callers_go_on(tmp_path: Path) -> None:
    clock = ManualClock()
    async with server_in_process(tmp_path, clock=clock) as server:
        session = await server.create()
        assert (await server.user("GET", f"/sessions/{session}"))[0] == 200
        clock.advance(10)
        url = f"{server.public_url}/v1/sessions/{session}"
        assert server.running is not None
        budget = server.running.context.authenticator._budget
        for _ in range(PEER_PER_MINUTE):
            budget.take_unknown("127.0.0.1")
        async with server.http.get(url, headers={"X-Api-Key": "guess"}) as refused:
            assert (refused.status, (await refused.json())["error"]["type"]) == (429, "rate_limit_error")
            assert refused.headers["retry-after"] == "1"
        assert (await server.user("GET", f"/sessions/{session}"))[0] == 200
