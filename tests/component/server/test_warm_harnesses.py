"""Warm harnesses at the server: in line for a session, given to one in a commit, and never to a second one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from support.requirements import requirement
from support.server import WAIT_SECONDS, TestServer, agent_event, message, server_in_process


async def offer(server: TestServer, pod: str, *, namespace: str = "team-a", image: str = "", status: int = 204) -> None:
    """Vouch for a warm Pod, whose Deployment has its name."""
    body = {"namespace": namespace, "image": image or None, "pod_name": f"ma-warm-{pod}", "deployment_name": f"d-{pod}"}
    found, answer = await server.operator("PUT", f"/warm-harnesses/deployment-of-{pod}/{pod}", body)
    assert found == status, answer


async def summary(server: TestServer, session: str) -> dict[str, Any]:
    found: dict[str, Any] = (await server.operator("GET", f"/sessions/{session}"))[1]
    return found


async def needing(server: TestServer, session: str) -> dict[str, Any]:
    """Return the summary once the server has found no warm harness for a session."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            found = await summary(server, session)
            if found["needs_pod"]:
                return found


@asynccontextmanager
async def warm(server: TestServer, pod: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """Offer a Pod that a waiting session takes at once."""
    await offer(server, pod)
    async with server.wake(pod) as socket:
        yield socket


@asynccontextmanager
async def in_line(server: TestServer, *pods: str) -> AsyncIterator[list[aiohttp.ClientWebSocketResponse]]:
    """Offer Pods, let each open its connection, and wait until they stand in line in this order."""
    assert server.running is not None
    line = server.running.context.leases.warm
    async with AsyncExitStack() as stack:
        sockets = []
        for pod in pods:
            before = len(line)
            sockets.append(await stack.enter_async_context(warm(server, pod)))
            async with asyncio.timeout(WAIT_SECONDS):
                while len(line) == before:
                    await server.operator("GET", "/packages")
        yield sockets


@requirement("warm-harness")
async def test_a_message_is_leased_to_a_warm_harness_without_an_operator(server: TestServer) -> None:
    session = await server.create("a")
    async with in_line(server, "warm-1") as [socket]:
        await server.user("POST", f"/sessions/{session}/events", {"events": [message("hello")]})
        lease = await server.leased(socket)
        assert (lease["session"]["id"], lease["epoch"], lease["head"]) == (session, 1, 1)
        told = await summary(server, session)
        assert (told["needs_pod"], told["lease_pod_uid"]) == (False, "warm-1")
        assert told["harness"] == {
            "deployment_uid": "deployment-of-warm-1",
            "deployment_name": "d-warm-1",
            "pod_uid": "warm-1",
            "pod_name": "ma-warm-warm-1",
            "epoch": 1,
        }
        body = {"epoch": 1, "events": [agent_event("session.status_running")]}
        assert (await server.harness("warm-1", "POST", f"/sessions/{session}/events", body))[0] == 200


@requirement("warm-harness")
async def test_pool_of_one_and_ten_sessions_serves_the_longest_waiting_one_each_time(server: TestServer) -> None:
    sessions = [await server.create(f"s{index}") for index in range(10)]
    for session in sessions:
        await server.user("POST", f"/sessions/{session}/events", {"events": [message("hello")]})
        await needing(server, session)
    async with warm(server, "warm-1") as first:
        assert (await server.leased(first))["session"]["id"] == sessions[0]
        assert [(await summary(server, session))["needs_pod"] for session in sessions] == [False] + [True] * 9
        async with warm(server, "warm-2") as second:
            assert (await server.leased(second))["session"]["id"] == sessions[1]


@requirement("warm-harness", "A1")
@pytest.mark.parametrize("other", [{"namespace": "team-b"}, {"image": "another/harness:1"}])
async def test_harness_of_another_namespace_or_image_is_not_taken(server: TestServer, other: dict[str, str]) -> None:
    session = await server.create("a")
    await offer(server, "warm-1", **other)  # type: ignore[arg-type] # keyword arguments of texts only
    async with server.wake("warm-1"):
        await server.user("POST", f"/sessions/{session}/events", {"events": [message("hello")]})
        assert (await needing(server, session))["harness"] is None


@requirement("warm-harness")
async def test_withdrawn_harness_gets_no_session_and_a_leased_one_is_not_withdrawn(server: TestServer) -> None:
    session = await server.create("a")
    async with in_line(server, "warm-1", "warm-2") as [first, second]:
        assert (await server.operator("DELETE", "/warm-harnesses/deployment-of-warm-1"))[0] == 204
        await server.user("POST", f"/sessions/{session}/events", {"events": [message("hello")]})
        assert (await server.leased(second))["session"]["id"] == session
        for path in ("deployment-of-warm-2", "deployment-of-warm-2/warm-2"):
            assert (await server.operator("DELETE", f"/warm-harnesses/{path}"))[0] == 409
        assert not first.closed


@requirement("warm-harness", "F8")
async def test_deployment_of_a_session_is_never_offered_again(server: TestServer) -> None:
    session = await server.create("a")
    async with in_line(server, "warm-1") as [socket]:
        await server.user("POST", f"/sessions/{session}/events", {"events": [message("hello")]})
        await server.leased(socket)
        await offer(server, "warm-1", status=409)
        closing = [
            agent_event("session.status_running"),
            agent_event("session.status_idle", stop_reason={"type": "end_turn"}),
        ]
        _, listed = await server.harness("warm-1", "GET", f"/sessions/{session}/events")
        body = {"epoch": 1, "events": closing, "processed": [listed["events"][0]["id"]]}
        assert (await server.harness("warm-1", "POST", f"/sessions/{session}/events", body))[0] == 200
        assert (await server.operator("POST", f"/sessions/{session}/release", {"epoch": 1}))[0] == 200
    assert (await summary(server, session))["harness"] is None
    await offer(server, "warm-1", status=409)  # also not after the release: it held this session's conversation
    assert (await server.operator("DELETE", "/warm-harnesses/deployment-of-warm-1"))[0] == 204


@requirement("warm-harness", "F7", "F8")
async def test_warm_harness_takes_over_from_one_that_died(server: TestServer) -> None:
    session = await server.create("a")
    async with in_line(server, "warm-1", "warm-2") as [first, second]:
        await server.user("POST", f"/sessions/{session}/events", {"events": [message("hello")]})
        await server.leased(first)
        await first.close()
        lease = await server.leased(second)
        assert (lease["session"]["id"], lease["epoch"]) == (session, 2)
        late = {"epoch": 1, "events": [agent_event("session.status_running")]}
        status, answer = await server.harness("warm-1", "POST", f"/sessions/{session}/events", late)
        assert (status, answer["error"]["type"]) == (409, "fenced")


@requirement("warm-harness", "F7")
async def test_harness_that_comes_back_at_once_keeps_its_session(server: TestServer) -> None:
    session = await server.create("a")
    async with in_line(server, "warm-1", "warm-2") as [first, second]:
        await server.user("POST", f"/sessions/{session}/events", {"events": [message("hello")]})
        await server.leased(first)
        await first.close()
        async with server.wake("warm-1") as again:
            assert (await server.leased(again))["epoch"] == 2
            other = await server.create("b", {"name": "x", **message("hi")})
            assert (await server.leased(second))["session"]["id"] == other


@requirement("warm-harness")
async def test_harness_that_left_the_line_is_passed_over(server: TestServer) -> None:
    session = await server.create("a")
    async with in_line(server, "warm-1", "warm-2") as [first, second]:
        await first.close()
        await server.user("POST", f"/sessions/{session}/events", {"events": [message("hello")]})
        assert (await server.leased(second))["session"]["id"] == session


@requirement("warm-harness")
async def test_offers_survive_a_restart_of_the_server(tmp_path: Path) -> None:
    async with server_in_process(tmp_path) as server:
        session = await server.create("a", {"name": "x", **message("hello")})
        await offer(server, "warm-1")
    async with server_in_process(tmp_path) as server, server.wake("warm-1") as socket:
        assert (await server.leased(socket))["session"]["id"] == session
