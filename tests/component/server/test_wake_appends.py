"""Appends over the lease's own connection: the same checks, answers and idempotency as those of a POST."""

from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest

from support.requirements import requirement
from support.server import WAIT_SECONDS, TestServer, agent_event, message

Socket = aiohttp.ClientWebSocketResponse


async def append(socket: Socket, body: Any, call: int = 1) -> tuple[int, dict[str, Any]]:
    """Append over the connection; return status and body of the answer."""
    await socket.send_json({"type": "append", "call": call, "body": body})
    return await answer(socket, call)


async def answer(socket: Socket, call: int) -> tuple[int, dict[str, Any]]:
    frame = await socket.receive_json(timeout=WAIT_SECONDS)
    assert (frame["type"], frame["call"]) == ("answer", call), frame
    return frame["status"], frame["body"]


async def post(server: TestServer, session: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    return await server.harness("pod-1", "POST", f"/sessions/{session}/events", body)


async def session_of(server: TestServer) -> str:
    session = await server.create("a", {"name": "first", **message("hello")})
    await server.register(session)
    return session


@requirement("append-lease")
async def test_an_append_over_the_connection_is_the_one_that_a_post_makes(server: TestServer) -> None:
    session = await session_of(server)
    async with server.wake() as socket:
        lease = await server.leased(socket)
        assert lease["appends"] is True
        _, slice_ = await server.harness("pod-1", "GET", f"/sessions/{session}/events")
        body = {"epoch": 1, "events": [agent_event("session.status_running")], "expected_head": 1}
        body["processed"] = [slice_["events"][0]["id"]]
        status, first = await append(socket, body, call=7)
        assert (status, first["head"]) == (200, 2)
        assert await append(socket, body, call=8) == (200, first)
        assert await post(server, session, body) == (200, first)
    _, slice_ = await server.harness("pod-1", "GET", f"/sessions/{session}/events")
    assert [event["type"] for event in slice_["events"]] == ["user.message", "session.status_running"]
    assert slice_["events"][0]["processed_at"] == first["processed_at"]


@requirement("append-lease")
@pytest.mark.parametrize(
    ("changes", "status", "kind"),
    [
        ({"epoch": 9}, 409, "fenced"),
        ({"expected_head": 5}, 412, "head_mismatch"),
        ({"epoch": None}, 400, "invalid_request"),
        ({"events": [{"type": "agent.message"}]}, 400, "invalid_request"),
        ({"processed": ["sevt_unknown"]}, 400, "invalid_request"),
    ],
)
async def test_what_a_post_refuses_is_refused_in_the_same_words(
    server: TestServer, changes: Mapping[str, Any], status: int, kind: str
) -> None:
    session = await session_of(server)
    async with server.wake() as socket:
        await server.leased(socket)
        body = {"epoch": 1, "events": [agent_event("agent.message", content=[])], **changes}
        refused = await append(socket, body)
        assert (refused[0], refused[1]["error"]["type"]) == (status, kind)
        assert await post(server, session, body) == refused
        assert (await append(socket, [body]))[0] == 400
        status, stored = await append(socket, {"epoch": 1, "events": [agent_event("agent.message", content=[])]})
        assert (status, stored["head"]) == (200, 2)


@requirement("append-lease")
async def test_a_body_too_deep_to_be_stored_is_refused(server: TestServer) -> None:
    await session_of(server)
    deep: Any = []
    for _ in range(250):
        deep = [deep]
    async with server.wake() as socket:
        await server.leased(socket)
        status, refused = await append(socket, {"epoch": 1, "events": [agent_event("agent.message", content=deep)]})
        assert (status, "levels deep" in refused["error"]["message"]) == (400, True)


@requirement("append-lease", "F8")
async def test_appends_that_wait_are_answered_in_order_and_none_after_a_takeover(server: TestServer) -> None:
    await session_of(server)
    async with server.wake() as first:
        await server.leased(first)
        for call in range(1, 20):
            body = {"epoch": 1, "events": [agent_event("agent.message", content=[])]}
            await first.send_json({"type": "append", "call": call, "body": body})
        heads = [(await answer(first, call))[1]["head"] for call in range(1, 20)]
        assert heads == list(range(2, 21))
        async with server.wake() as second:
            assert (await server.leased(second))["head"] == 20
            assert await first.receive_json(timeout=WAIT_SECONDS) == {"type": "fenced"}
            refused = await append(second, {"epoch": 1, "events": [agent_event("agent.message", content=[])]})
            assert (refused[0], refused[1]["error"]["type"]) == (409, "fenced")
