"""Random readers, writers, drops, disconnections and deletions: what a reader saw equals the list (I12, F25, A28)."""

import asyncio
import contextlib
import itertools
import string
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from managed_agents.eventlog.store import Append
from managed_agents.server import sse
from managed_agents.server.services import catching_up
from support.server import USER_TOKEN, WAIT_SECONDS, TestServer, server_in_process
from support.streams import Reader, listed, said, send

Step = tuple[str, int]
histories = st.lists(
    st.tuples(
        st.sampled_from(["send", "send", "emit", "stamp", "read", "leave", "resume", "recipe", "stall", "restart"]),
        st.integers(0, 3),
    ),
    max_size=30,
)
READERS = 3
SLOW = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]


class Follower:
    """A client that follows a session across disconnections; the last copy of an event counts."""

    def __init__(self, server: TestServer, session: str) -> None:
        self._server, self._session = server, session
        self.seen: dict[str, dict[str, Any]] = {}
        self._last_id: str | None = None
        self._stream: Reader | None = None

    async def connect(self, *, resume: bool) -> None:
        """Open a stream: after the last event seen, or as the SDK does: open, list, tail."""
        await self.leave()
        headers = {"Authorization": f"Bearer {USER_TOKEN}"}
        if resume and self._last_id is not None:
            headers["Last-Event-ID"] = self._last_id
        url = f"{self._server.public_url}/v1/sessions/{self._session}/events/stream"
        response = await self._server.http.get(url, headers=headers)
        assert response.status == 200
        self._stream = Reader(response)
        if "Last-Event-ID" not in headers:
            for event in await listed(self._server, self._session):
                self._see(event)
                self._last_id = event["id"]

    async def leave(self) -> None:
        """Disconnect without reading what is on its way."""
        if self._stream is not None:
            self._stream.response.close()
        self._stream = None

    async def read(self, count: int) -> None:
        """Read events that are there; one that was dropped comes back after its last event."""
        if self._stream is None:
            return
        for _ in range(count):
            try:
                async with asyncio.timeout(0.01):
                    event = await self._stream.next()
            except TimeoutError:
                # a frame may have been cut by the wait: only a new connection is sure where it stands
                await self.connect(resume=True)
                return
            except (OSError, aiohttp.ClientError):  # cut, because it was too slow
                event = None
            if event is None:
                await self.connect(resume=True)
                return
            self._see(event)
            self._last_id = self._stream.last_id or self._last_id

    async def until(self, expected: dict[str, dict[str, Any]]) -> None:
        """Come back and read until all of that was seen."""
        await self.connect(resume=True)
        assert self._stream is not None
        async with asyncio.timeout(WAIT_SECONDS):
            while self.seen != expected:
                event = await self._stream.next()
                assert event is not None, "the stream ended early"
                self._see(event)
        await self.leave()

    def _see(self, event: dict[str, Any]) -> None:
        before = self.seen.get(event["id"])
        if before is not None and before["processed_at"] is not None:
            assert event == before  # only `processed_at` changes, once, from null (I3)
        self.seen[event["id"]] = event


class Run:
    """One random history over one session."""

    def __init__(self, server: TestServer, session: str) -> None:
        assert server.running is not None
        self._server, self._session = server, session
        self._log = server.running.context.log
        self.followers = [Follower(server, session) for _ in range(READERS)]
        self._number = 0

    async def step(self, kind: str, number: int) -> None:
        follower = self.followers[number % READERS]
        match kind:
            case "send":
                await send(self._server, self._session, *(self._text() for _ in range(number + 1)))
            case "emit":
                await self._append([said(self._text()) for _ in range(number + 1)], [])
            case "stamp":
                queued = [event["id"] for event in await self._list() if event["processed_at"] is None]
                await self._append([], queued[: number + 1])
            case "read":
                await follower.read(number * 3 + 1)
            case "leave":
                await follower.leave()
            case "resume" | "recipe":
                await follower.connect(resume=kind == "resume")
            case "stall":  # connections that take nothing while more comes than their buffers hold
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(sse.Wire, "send", lambda *_: False)
                    await self._append([said(self._text()) for _ in range(5)], [])
            case _:
                assert self._server.running is not None
                for stream in list(self._server.running.context.streams._readers.get(self._session, ())):
                    stream.end()

    async def check(self) -> None:
        events = await self._list()
        assert [event["position"] for event in events] == list(range(1, len(events) + 1))
        for follower in self.followers:
            await follower.until({event["id"]: event for event in events})
            order = sorted(follower.seen.values(), key=lambda event: event["position"])
            assert order == events

    async def _append(self, events: list[dict[str, Any]], processed: list[str]) -> None:
        epoch = (await self._log.take_epoch(self._session)).epoch
        await self._log.append(Append(session=self._session, events=events, epoch=epoch, processed=processed))

    async def _list(self) -> list[dict[str, Any]]:
        return await listed(self._server, self._session)

    def _text(self) -> str:
        self._number += 1
        return str(self._number)


class World:
    """One server for all examples of a test, each with sessions of its own: starting one costs more than an example."""

    def __init__(self, runner: asyncio.Runner, server: TestServer) -> None:
        self._runner = runner
        self._numbers = itertools.count()
        self.server = server

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        self._runner.run(work)

    async def session(self) -> str:
        return await self.server.create(f"session-{next(self._numbers)}")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with asyncio.Runner() as runner:
        stack = contextlib.AsyncExitStack()
        server = runner.run(stack.enter_async_context(server_in_process(tmp_path, streams_max=10_000)))
        yield World(runner, server)
        runner.run(stack.aclose())


@pytest.fixture
def small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "BUFFER_FRAMES_MAX", 4)
    monkeypatch.setattr(sse, "WRITE_BYTES_MAX", 2000)
    monkeypatch.setattr(catching_up, "PAGE_EVENTS", 3)


@pytest.mark.slow
@pytest.mark.usefixtures("small_bounds")
@settings(max_examples=25, deadline=None, suppress_health_check=SLOW)
@given(history=histories)
def test_streams_across_reconnects_and_drops_equal_the_list(world: World, history: list[Step]) -> None:
    async def run() -> None:
        run = Run(world.server, await world.session())
        for kind, number in history:
            await run.step(kind, number)
        await run.check()

    world.run(run())


@settings(max_examples=10, deadline=None, suppress_health_check=SLOW)
@given(before=st.integers(0, 5), readers=st.integers(0, 5))
def test_a_deletion_ends_every_stream_after_what_came_before_it(world: World, before: int, readers: int) -> None:
    async def run() -> None:
        server, session = world.server, await world.session()
        url = f"{server.public_url}/v1/sessions/{session}/events/stream"
        headers = {"Authorization": f"Bearer {USER_TOKEN}"}
        async with contextlib.AsyncExitStack() as stack:
            opened = [await stack.enter_async_context(server.http.get(url, headers=headers)) for _ in range(readers)]
            sent = [(await send(server, session, str(number)))[0] for number in range(before)]
            await server.operator("DELETE", f"/sessions/{session}")
            for response in opened:
                rest = await Reader(response).rest()
                assert rest[:-1] == sent
                assert rest[-1]["type"] == "session.deleted"
        status, _ = await server.user("GET", f"/sessions/{session}/events/stream")
        assert status == 404

    world.run(run())


CHARACTERS = st.sampled_from(string.ascii_letters + string.digits + "-_=%é")


@settings(max_examples=20, deadline=None, suppress_health_check=SLOW)
@given(edits=st.lists(st.tuples(st.integers(0, 200), CHARACTERS), min_size=1, max_size=10))
def test_a_forged_cursor_is_refused_and_never_shows_another_page(world: World, edits: list[tuple[int, str]]) -> None:
    async def run() -> None:
        server, session, other = world.server, await world.session(), await world.session()
        for name in (session, other):
            await send(server, name, "1", "2", "3")
        cursor = (await server.user("GET", f"/sessions/{session}/events?limit=1"))[1]["next_page"]
        for index, character in edits:
            at = index % len(cursor)
            query = {"page": cursor[:at] + character + cursor[at + 1 :], "limit": "1"}
            status, answer = await server.user("GET", f"/sessions/{session}/events", params=query)
            # base64 has spellings of the same bytes; whatever passes is the page that was signed
            assert status == 400 or [event["position"] for event in answer["data"]] == [2]
        for path, more in ((other, {}), (session, {"order": "desc"})):
            query = {"page": cursor, **more}
            status, answer = await server.user("GET", f"/sessions/{path}/events", params=query)
            assert (status, answer["error"]["type"]) == (400, "invalid_request_error")

    world.run(run())
