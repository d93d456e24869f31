"""The operator's watch."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson

from managed_agents.eventlog.store import Append
from support.server import OPERATOR_TOKEN, WAIT_SECONDS, TestServer, message, pod_token


@contextlib.asynccontextmanager
async def watching(server: TestServer) -> AsyncIterator[aiohttp.ClientResponse]:
    headers = {"Authorization": f"Bearer {OPERATOR_TOKEN}"}
    async with server.http.get(f"{server.internal_url}/internal/v1/watch", headers=headers) as response:
        assert (response.status, response.headers["Content-Type"]) == (200, "application/x-ndjson")
        yield response


async def next_line(response: aiohttp.ClientResponse) -> dict[str, Any]:
    """Return the next line that is no heartbeat."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            line: dict[str, Any] = orjson.loads(await response.content.readline())
            if line["type"] != "HEARTBEAT":
                return line


async def test_a_watch_lists_syncs_and_follows(server: TestServer) -> None:
    first = await server.create("a")
    async with watching(server) as watch:
        assert (await next_line(watch))["summary"]["id"] == first
        assert await next_line(watch) == {"type": "SYNCED"}
        second = await server.create("b", {"name": "x", **message("hi")})
        summary: dict[str, Any] = {}
        while summary.get("delivered") != ["x"] or not summary["needs_pod"]:
            summary = (await next_line(watch))["summary"]
        assert (summary["id"], summary["wanted"], summary["head"]) == (second, True, 1)
        found = (await server.operator("GET", f"/sessions/{second}"))[1]
        assert {**summary, "revision": 0} == {**found, "revision": 0}
        await server.register(second)
        async with server.wake():
            while not summary["leased"]:
                assert (await next_line(watch))["summary"]["revision"] >= summary["revision"]
                summary = (await server.operator("GET", f"/sessions/{second}"))[1]
        while summary["leased"]:
            line = await next_line(watch)
            assert line["summary"]["revision"] > 0
            summary = line["summary"]
        await server.operator("DELETE", f"/sessions/{second}")
        line = await next_line(watch)
        while line["type"] != "DELETED":
            line = await next_line(watch)
        assert line == {"type": "DELETED", "id": second}


async def test_revisions_grow_with_every_change(server: TestServer) -> None:
    session = await server.create("a")
    revisions = []
    for text in ("a", "b"):
        await server.user("POST", f"/sessions/{session}/events", {"events": [message(text)]})
        revisions.append((await server.operator("GET", f"/sessions/{session}"))[1]["revision"])
    assert revisions == sorted(set(revisions))


async def test_idle_watches_carry_heartbeats(server: TestServer) -> None:
    async with watching(server) as watch:
        assert orjson.loads(await watch.content.readline()) == {"type": "SYNCED"}
        assert orjson.loads(await watch.content.readline()) == {"type": "HEARTBEAT"}


async def test_only_the_operator_may_watch(server: TestServer) -> None:
    url = f"{server.internal_url}/internal/v1/watch"
    for token, status in ((pod_token("pod-1"), 403), ("nobody", 401)):
        answered, answer = await server.call("GET", url, token)
        assert (answered, "error" in answer) == (status, True)


async def test_a_summary_never_says_a_newer_revision_than_it_holds(server: TestServer) -> None:
    """A watcher drops a revision that it knows; a claim of the same moment would stay unseen, and no sandbox made."""
    session = await server.create("a")
    await server.register(session)
    assert server.running is not None
    log, sessions = server.running.context.log, server.running.context.sessions
    async with server.wake() as socket:
        epoch = (await server.leased(socket))["epoch"]
        busy = threading.Event()

        def keep_the_log_busy(*_: object) -> bool:
            return busy.wait(WAIT_SECONDS)

        held = Append(session=session, events=[message("hi")], admit=keep_the_log_busy)
        append = asyncio.create_task(log.append(held))
        summary = asyncio.create_task(sessions.summary(session))
        claim = asyncio.create_task(log.claim_sandbox(session, epoch))
        await asyncio.sleep(0)  # all three wait for the log now, so that they are answered together
        busy.set()
        await append
        early = await summary
        await claim
        late = await sessions.summary(session)
    assert (early["sandbox"], late["sandbox"]["state"]) == (None, "wanted")
    assert early["revision"] < late["revision"]
