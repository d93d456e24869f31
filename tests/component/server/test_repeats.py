"""A POST that is sent again: one result where its answer was lost, a new one where it was not (F24, I13)."""

import asyncio
import json
import signal
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from managed_agents.contracts.ids import id_for
from managed_agents.eventlog.records import Appended
from managed_agents.eventlog.store import Append
from managed_agents.server.app import PUBLIC_ROUTES
from managed_agents.server.services.callers import Caller
from managed_agents.server.services.replies import RETRY_SECONDS
from support.clock import ManualClock
from support.kube import FakeKube
from support.requirements import requirement
from support.server import USER_TOKEN, WAIT_SECONDS, TestServer, message, server_in_process, server_process
from support.waiting import until

BODY = {"events": [message("hello")]}
WORKSPACE = {"anthropic-workspace-id": "team-a"}
RETRY = {"x-stainless-retry-count": "1"}


def raw_post(path: str, body: dict[str, Any]) -> bytes:
    """A POST as bytes, as an official SDK sends it the first time."""
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {USER_TOKEN}\r\nContent-Type: application/json\r\n"
    )
    return f"{head}x-stainless-retry-count: 0\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content


async def cut(server: TestServer, session: str, body: dict[str, Any] = BODY, *, reset: bool = False) -> None:
    """Send events and go away without reading the answer: in order, or abruptly once it has arrived."""
    await server.user("GET", f"/sessions/{session}/events")  # the token is known, so the POST is taken as it arrives
    address = urlsplit(server.public_url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(raw_post(f"/v1/sessions/{session}/events", body))
    await writer.drain()
    if reset:
        async with asyncio.timeout(WAIT_SECONDS):
            await reader.readexactly(1)
        connection: socket.socket = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()
    await writer.wait_closed()


async def cut_retry(server: TestServer, session: str) -> None:
    """A retry that is cut as well: it changes nothing, and the next one still gets the first result."""
    address = urlsplit(server.public_url)
    _, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(raw_post(f"/v1/sessions/{session}/events", BODY).replace(b"count: 0", b"count: 1"))
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert server.running is not None
    await until(lambda: not server.running.context.replies._running)  # type: ignore[union-attr]  # it has ended


async def heads(server: TestServer, session: str) -> int:
    head: int = (await server.operator("GET", f"/sessions/{session}"))[1]["head"]
    return head


async def arrived(server: TestServer, session: str, head: int) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while await heads(server, session) < head:  # noqa: ASYNC110 - asks the server
            await asyncio.sleep(0.01)


async def post(server: TestServer, session: str, body: Any = BODY, **headers: str) -> tuple[int, Any]:
    return await server.user("POST", f"/sessions/{session}/events", body, headers=headers)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def timed(tmp_path: Path, clock: ManualClock) -> AsyncIterator[TestServer]:
    async with server_in_process(tmp_path, clock=clock) as running:
        yield running


@requirement("F24")
async def test_five_retries_after_a_cut_post_are_one_event(server: TestServer) -> None:
    session = await server.create()
    await cut(server, session)
    await arrived(server, session, 1)
    for _ in range(4):
        await cut_retry(server, session)
    status, answer = await post(server, session, **RETRY)
    listed = (await server.user("GET", f"/sessions/{session}/events"))[1]["data"]
    assert (status, [event["id"] for event in answer["data"]]) == (200, [event["id"] for event in listed])
    assert len(listed) == 1


async def test_retries_at_the_same_time_join_one_request(server: TestServer) -> None:
    session = await server.create()
    answers = await asyncio.gather(*(post(server, session, **RETRY) for _ in range(5)))
    assert await heads(server, session) == len({answer["data"][0]["id"] for _, answer in answers})


async def test_a_client_that_resets_before_it_has_read_gets_the_first_result(server: TestServer) -> None:
    session = await server.create()
    await cut(server, session, reset=True)
    assert server.running is not None
    known = server.running.context.replies._known
    await until(lambda: not next(iter(known.values())).is_delivered)
    await post(server, session, **RETRY)
    assert await heads(server, session) == 1


async def test_a_retry_joins_what_still_runs(server: TestServer, monkeypatch: pytest.MonkeyPatch) -> None:
    session = await server.create()
    assert server.running is not None
    context, held = server.running.context, asyncio.Event()
    append, identify, callers = context.log.append, context.callers.identify, []

    async def append_when_let(request: Append) -> Appended:
        await held.wait()
        return await append(request)

    async def identify_and_count(credential: str, peer: str) -> Caller:
        callers.append(await identify(credential, peer))
        return callers[-1]

    monkeypatch.setattr(context.log, "append", append_when_let)
    monkeypatch.setattr(context.callers, "identify", identify_and_count)
    first = asyncio.create_task(post(server, session))
    await until(lambda: len(callers) == 1)
    second = asyncio.create_task(post(server, session, **RETRY))
    await until(lambda: len(callers) == 2)
    held.set()
    assert (await first)[1]["data"][0]["id"] == (await second)[1]["data"][0]["id"]
    assert await heads(server, session) == 1


async def test_the_same_again_is_new_once_its_answer_was_read(server: TestServer) -> None:
    session = await server.create()
    await post(server, session)
    await post(server, session)
    assert await heads(server, session) == 2
    await post(server, session, **RETRY)  # its own first attempt never arrived
    assert await heads(server, session) == 3


async def test_another_body_or_caller_is_no_repeat(server: TestServer) -> None:
    session = await server.create()
    await cut(server, session)
    await arrived(server, session, 1)
    await post(server, session, {"events": [message("another")]}, **RETRY)
    server.kubernetes.extra_tokens["bob"] = {"authenticated": True, "user": {"username": "bob"}}
    url = f"{server.public_url}/v1/sessions/{session}/events"
    await server.call("POST", url, "bob", json=BODY, headers=RETRY)
    assert await heads(server, session) == 3


async def test_after_fifteen_minutes_a_retry_is_new(timed: TestServer, clock: ManualClock) -> None:
    session = await timed.create()
    await cut(timed, session)
    await arrived(timed, session, 1)
    clock.advance(RETRY_SECONDS - 1)
    await cut_retry(timed, session)
    assert await heads(timed, session) == 1
    clock.advance(2)
    await post(timed, session, **RETRY)
    assert await heads(timed, session) == 2


async def test_a_refused_post_is_tried_again(server: TestServer) -> None:
    session = await server.create()
    await cut(server, session, {"events": []})
    status, answer = await post(server, session, {"events": []}, **RETRY)
    assert (status, answer["error"]["type"]) == (400, "invalid_request_error")


@pytest.mark.slow
async def test_a_retry_after_the_server_was_killed_gets_the_first_result(tmp_path: Path) -> None:
    async with server_process(tmp_path) as process:
        server = process.server
        session = await server.create()
        await cut(server, session)
        await arrived(server, session, 1)
        await process.stop(signal.SIGKILL)
        await process.start()
        answers = [await post(server, session, **RETRY) for _ in range(2)]
        listed = (await server.user("GET", f"/sessions/{session}/events"))[1]["data"]
        assert answers[0][1]["data"][0]["id"] == listed[0]["id"]
        assert await heads(server, session) == 2, "the second retry came after the first was answered"


@requirement("I13")
async def test_an_idempotency_key_gives_the_first_result_for_ever_and_refuses_another_body(server: TestServer) -> None:
    session = await server.create()
    keyed = {"Idempotency-Key": "k1"}
    first = await post(server, session, **keyed)
    assert await post(server, session, **keyed) == first
    status, answer = await post(server, session, {"events": [message("another")]}, **keyed)
    assert (status, answer["error"]["type"]) == (422, "invalid_request_error")
    assert await heads(server, session) == 1
    assert (await post(server, session, **{"Idempotency-Key": "k" * 256}))[0] == 400


AGENT = {"name": "Repair bot", "model": "claude-opus-5-5"}


async def test_a_creation_that_was_cut_is_not_repeated_even_by_the_next_server(tmp_path: Path) -> None:
    kube = FakeKube()
    async with server_in_process(tmp_path, kube=kube) as first:
        await first.user("GET", "/agents", headers=WORKSPACE)
        address = urlsplit(first.public_url)
        _, writer = await asyncio.open_connection(address.hostname, address.port)
        named = f"anthropic-workspace-id: {WORKSPACE['anthropic-workspace-id']}\r\nx-stainless".encode()
        writer.write(raw_post("/v1/agents", AGENT).replace(b"x-stainless", named))
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        assert first.running is not None
        replies = first.running.context.replies
        await until(lambda: len(replies._known) == 1 and not replies._running)
    async with server_in_process(tmp_path, kube=kube) as second:
        status, agent = await second.user("POST", "/agents", AGENT, headers=WORKSPACE | RETRY)
        assert (status, agent["type"]) == (200, "agent")
        (made,) = kube.list("agents")
        assert agent["id"] == id_for("agent", made["metadata"]["uid"])
        await second.user("POST", "/agents", AGENT, headers=WORKSPACE)
        assert len(kube.list("agents")) == 2


@requirement("I13")
@pytest.mark.parametrize(("refused", "status"), [({"create"}, 403), ({"update"}, 403), ({"update", "get"}, 404)])
async def test_a_first_result_is_only_for_who_may_still_do_it(refused: set[str], status: int, tmp_path: Path) -> None:
    kube, keyed = FakeKube(), WORKSPACE | {"Idempotency-Key": "k1"}
    async with server_in_process(tmp_path, kube=kube) as first:
        _, agent = await first.user("POST", "/agents", AGENT, headers=keyed)
        path, body = f"/agents/{agent['id']}", {"version": 1, "name": "Mended"}
        assert (await first.user("POST", path, body, headers=keyed))[0] == 200
    async with server_in_process(tmp_path, kube=kube) as second:
        second.kubernetes.allowed = lambda review: review["resourceAttributes"]["verb"] not in refused
        repeat = ("/agents", AGENT) if "create" in refused else (path, body)
        assert (await second.user("POST", *repeat, headers=keyed))[0] == status


def test_every_post_says_what_a_repeat_must_be_allowed() -> None:
    assert [route.path for route in PUBLIC_ROUTES if (route.method == "POST") != (route.permit is not None)] == []


async def test_a_key_in_another_workspace_is_another_request(server: TestServer) -> None:
    made = []
    for namespace in ("team-a", "team-b"):
        headers = {"anthropic-workspace-id": namespace, "Idempotency-Key": "k1"}
        made.append((await server.user("POST", "/agents", AGENT, headers=headers))[1]["id"])
    assert made[0] != made[1]
    assert {agent["metadata"]["namespace"] for agent in server.kube.list("agents")} == {"team-a", "team-b"}


async def test_an_idempotency_key_works_on_creations(server: TestServer) -> None:
    headers = WORKSPACE | {"Idempotency-Key": "k1"}
    first = await server.user("POST", "/agents", AGENT, headers=headers)
    assert await server.user("POST", "/agents", AGENT, headers=headers) == first
    assert first[0] == 200
    status, answer = await server.user("POST", "/agents", {**AGENT, "name": "Another"}, headers=headers)
    assert (status, answer["error"]["type"]) == (422, "invalid_request_error")
    assert len(server.kube.list("agents")) == 1
