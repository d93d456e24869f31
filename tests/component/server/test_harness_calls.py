"""Wake, emit, read, release and sandboxes over HTTP, as a harness and the operator use them."""

import asyncio
from typing import Any

import aiohttp
import pytest

from managed_agents.contracts.ids import new_event_id
from support.requirements import requirement
from support.server import WAIT_SECONDS, TestServer, agent_event, message, session_config


def idle(*waiting: str) -> dict[str, Any]:
    reason = {"type": "requires_action", "event_ids": list(waiting)} if waiting else {"type": "end_turn"}
    return agent_event("session.status_idle", stop_reason=reason)


async def closed(socket: aiohttp.ClientWebSocketResponse) -> list[dict[str, Any]]:
    """Return the frames up to the close."""
    async with asyncio.timeout(WAIT_SECONDS):
        return [frame.json() async for frame in socket]


async def test_a_turn_from_wake_to_release(server: TestServer) -> None:
    session = await server.create("a", {"name": "first", **message("hello")})
    await server.register(session)
    async with server.wake() as socket:
        lease = await server.leased(socket)
        assert (lease["epoch"], lease["head"], lease["session"]["id"]) == (1, 1, session)
        status, slice_ = await server.harness("pod-1", "GET", f"/sessions/{session}/events?after_position=0")
        assert status == 200
        first = slice_["events"][0]
        assert (first["type"], first["position"], first["processed_at"]) == ("user.message", 1, None)
        assert first["sender"] == {"via": "spec"}

        opening = [agent_event("session.status_running"), agent_event("agent.message", content=[])]
        body = {"epoch": 1, "events": opening, "processed": [first["id"]], "expected_head": 1}
        status, emitted = await server.harness("pod-1", "POST", f"/sessions/{session}/events", body)
        assert (status, emitted["head"]) == (200, 3)
        assert await server.harness("pod-1", "POST", f"/sessions/{session}/events", body) == (200, emitted)

        status, refused = await server.operator("POST", f"/sessions/{session}/release", {"epoch": 1})
        assert (status, refused["error"]["type"]) == (409, "input_waiting")
        await server.user("POST", f"/sessions/{session}/events", {"events": [message("more")]})
        frame = await socket.receive_json(timeout=WAIT_SECONDS)
        assert (frame["type"], frame["event"]["position"]) == ("event", 4)
        closing = {"epoch": 1, "events": [idle()], "expected_head": 3}
        status, refused = await server.harness("pod-1", "POST", f"/sessions/{session}/events", closing)
        assert (status, refused["error"]["type"], refused["error"]["head"]) == (412, "head_mismatch", 4)
        closing |= {"expected_head": 4, "processed": [frame["event"]["id"]]}
        assert (await server.harness("pod-1", "POST", f"/sessions/{session}/events", closing))[0] == 200

        status, summary = await server.operator("POST", f"/sessions/{session}/release", {"epoch": 1})
        assert (status, summary["released"], summary["wanted"], summary["status"]) == (200, True, False, "idle")
        assert await closed(socket) == [{"type": "released"}]
    status, refused = await server.harness("pod-1", "GET", f"/sessions/{session}")
    assert (status, refused["error"]["type"]) == (403, "not_registered")
    assert (await server.operator("POST", f"/sessions/{session}/release", {"epoch": 1}))[0] == 200


@requirement("F8")
async def test_an_older_epoch_is_fenced_after_a_takeover(server: TestServer) -> None:
    session = await server.create("a", {"name": "first", **message("hello")})
    await server.register(session)
    async with server.wake() as first:
        assert (await server.leased(first))["epoch"] == 1
        async with server.wake() as second:
            assert (await server.leased(second))["epoch"] == 2
            assert await closed(first) == [{"type": "fenced"}]
            body = {"epoch": 1, "events": [agent_event("session.status_running")]}
            status, refused = await server.harness("pod-1", "POST", f"/sessions/{session}/events", body)
            assert (status, refused["error"]["type"]) == (409, "fenced")


async def test_another_pod_waits_while_a_lease_lives_and_takes_over_when_its_connection_ends(
    server: TestServer,
) -> None:
    session = await server.create("a", {"name": "first", **message("hello")})
    await server.register(session, "pod-1")
    await server.register(session, "pod-2")
    async with server.wake("pod-2") as waiting:
        async with server.wake("pod-2") as first:
            await server.leased(first)
        async with server.wake("pod-1") as second, server.wake("pod-2") as third:
            frames = [asyncio.create_task(socket.receive_json()) for socket in (waiting, second, third)]
            async with asyncio.timeout(WAIT_SECONDS):
                done, pending = await asyncio.wait(frames, return_when=asyncio.FIRST_COMPLETED)
            assert done
            for task in pending:
                task.cancel()


async def test_wake_of_a_pod_registered_later_gets_its_lease_then(server: TestServer) -> None:
    session = await server.create("a", {"name": "first", **message("hello")})
    async with server.wake("pod-9") as socket:
        receiving = asyncio.create_task(server.leased(socket))
        await server.register(session, "pod-9")
        assert (await receiving)["epoch"] == 1


async def test_deleting_a_pod_ends_its_lease_and_its_rights(server: TestServer) -> None:
    session = await server.create("a", {"name": "first", **message("hello")})
    await server.register(session)
    async with server.wake() as socket:
        await server.leased(socket)
        assert (await server.operator("GET", f"/sessions/{session}"))[1]["lease_pod_uid"] == "pod-1"
        await server.operator("DELETE", "/harness-pods/pod-1")
        assert await closed(socket) == [{"type": "fenced"}]
    assert (await server.operator("GET", f"/sessions/{session}"))[1]["leased"] is False
    body = {"epoch": 1, "events": [agent_event("session.status_running")]}
    assert (await server.harness("pod-1", "POST", f"/sessions/{session}/events", body))[0] == 403


async def test_a_sandbox_is_asked_for_becomes_ready_and_is_gone(server: TestServer) -> None:
    session = await server.create("a", {"name": "first", **message("hello")})
    await server.register(session)
    async with server.wake() as socket:
        await server.leased(socket)
        path = f"/sessions/{session}/sandbox"
        claim = {"epoch": 1, "name": "default", "wait_seconds": 5}
        claiming = asyncio.create_task(server.harness("pod-1", "POST", path, claim))
        wanted = None
        while wanted is None:
            wanted = (await server.operator("GET", f"/sessions/{session}"))[1]["sandbox"]
        assert (wanted["state"], wanted["generation"]) == ("wanted", 1)
        report = {"session_id": session, "pod_uid": "box-1", "state": "ready", "address": "10.0.0.1:7400"}
        assert (await server.operator("PUT", f"/sandboxes/team-a/{wanted['pod_name']}", report))[0] == 204
        status, ready = await claiming
        assert (status, ready["state"], ready["address"]) == (200, "ready", "10.0.0.1:7400")
        assert ready["bind_token"] != ready["binding_secret"]

        looking = asyncio.create_task(server.harness("pod-1", "GET", f"{path}/{ready['pod_name']}?wait_seconds=5"))
        gone = report | {"state": "gone", "reason": "OOMKilled", "message": "killed"}
        await server.operator("PUT", f"/sandboxes/team-a/{wanted['pod_name']}", gone)
        assert await looking == (200, {"state": "gone", "reason": "OOMKilled", "message": "killed"})
        status, pending = await server.harness("pod-1", "POST", path, claim | {"wait_seconds": 0})
        assert (status, pending["state"], pending["generation"]) == (200, "pending", 2)
        status, refused = await server.harness("pod-1", "POST", path, claim | {"epoch": 0})
        assert (status, refused["error"]["type"]) == (409, "fenced")


async def test_deleting_a_session_tells_its_harness_and_its_id_never_returns(server: TestServer) -> None:
    session = await server.create("a", {"name": "first", **message("hello")})
    await server.register(session)
    async with server.wake() as socket:
        await server.leased(socket)
        assert (await server.operator("DELETE", f"/sessions/{session}"))[0] == 204
        assert await closed(socket) == [{"type": "deleted"}]
    assert (await server.operator("DELETE", f"/sessions/{session}"))[0] == 204
    assert (await server.operator("GET", f"/sessions/{session}"))[0] == 404
    with pytest.raises(AssertionError, match="never used again"):
        await server.create("a")


@requirement("A1")
async def test_a_harness_may_act_on_its_own_session_only(server: TestServer) -> None:
    mine, other = await server.create("a"), await server.create("b")
    await server.register(mine)
    for path in ("", "/events"):
        status, refused = await server.harness("pod-1", "GET", f"/sessions/{other}{path}")
        assert (status, refused["error"]["type"]) == (403, "not_registered")
    status, refused = await server.harness("pod-1", "PUT", f"/sessions/{mine}", {})
    assert (status, refused["error"]["type"]) == (403, "forbidden")


async def test_an_event_id_with_another_body_is_refused(server: TestServer) -> None:
    session = await server.create("a", {"name": "first", **message("hello")})
    await server.register(session)
    async with server.wake() as socket:
        await server.leased(socket)
        event_id = new_event_id()
        path = f"/sessions/{session}/events"
        event = {"id": event_id, "type": "session.status_running"}
        assert (await server.harness("pod-1", "POST", path, {"epoch": 1, "events": [event]}))[0] == 200
        changed = [{**event, "type": "agent.thinking"}]
        status, refused = await server.harness("pod-1", "POST", path, {"epoch": 1, "events": changed})
        assert (status, refused["error"]["type"]) == (422, "key_reused")


async def test_no_object_of_another_namespace_takes_a_session_over(server: TestServer) -> None:
    session = await server.create("a")
    config = session_config("b", id=session, namespace="team-b", title="mine now", generation=9)
    status, _ = await server.operator("PUT", f"/sessions/{session}", {"config": config, "events": []})
    assert (status, (await server.operator("GET", f"/sessions/{session}"))[1]["namespace"]) == (409, "team-a")
    assert (await server.user("GET", f"/sessions/{session}"))[1]["title"] is None
    assert (await server.operator("DELETE", f"/sessions/{session}?namespace=team-b"))[0] == 204
    assert (await server.operator("GET", f"/sessions/{session}"))[0] == 200
    body = {"namespace": "team-b", "pod_name": "b", "deployment_uid": "b", "session_id": session}
    assert (await server.operator("PUT", "/harness-pods/pod-b", body))[0] == 409
