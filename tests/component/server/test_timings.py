"""Where the time of a turn went, as the server tells it: its own commits and what a harness says between them."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from support.clock import ManualClock
from support.requirements import requirement
from support.server import TestServer, agent_event, message, server_in_process

START = "span.model_request_start"
RUNNING = "session.status_running"
END = "span.model_request_end"
IDLE = "session.status_idle"
RESULT = "agent.tool_result"


REACHED = (0, 2000, 2400, 2500, 2600, 2900, 3200, 3250, 3500, 3550, 3560, 3960, 3970, 4250, 4500, 5125)
"""When the first test reaches t1 to t16, in milliseconds."""


class Turn:
    """One session of a server whose clock only the test moves, and its harness."""

    def __init__(self, server: TestServer, clock: ManualClock, session: str) -> None:
        self.server, self.clock, self.session = server, clock, session
        self.epoch = 0

    async def say(self, text: str = "hello") -> None:
        status, answer = await self.server.user("POST", f"/sessions/{self.session}/events", {"events": [message(text)]})
        assert status == 200, answer

    async def emit(self, *kinds: str, after: float = 0.0, timing: object = None, epoch: int | None = None) -> int:
        """Append as the harness, that many seconds later; `timing` is what it tells."""
        self.clock.advance(after)
        events = [agent_event(kind) for kind in kinds]
        return await self.post({"epoch": epoch or self.epoch, "events": events, "timing": timing})

    async def post(self, body: Mapping[str, Any]) -> int:
        status, _ = await self.server.harness("pod-1", "POST", f"/sessions/{self.session}/events", body)
        return status

    async def timings(self, query: str = "") -> list[dict[str, Any]]:
        status, answer = await self.server.user("GET", f"/sessions/{self.session}/timings{query}")
        assert status == 200, answer
        data: list[dict[str, Any]] = answer["data"]
        return data

    @asynccontextmanager
    async def leased(self) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        async with self.server.wake() as socket:
            self.epoch = (await self.server.leased(socket))["epoch"]
            yield socket


@asynccontextmanager
async def turn_on(folder: Path, clock: ManualClock | None = None) -> AsyncIterator[Turn]:
    clock = clock or ManualClock()
    async with server_in_process(folder, clock=clock) as server:
        session = await server.create()
        await server.register(session)
        yield Turn(server, clock, session)


@pytest.fixture
async def turn(tmp_path: Path) -> AsyncIterator[Turn]:
    async with turn_on(tmp_path) as made:
        yield made


async def whole_turn(turn: Turn, *, ago: Sequence[float] = (200, 500, 300, 100, 50)) -> None:
    """Take a turn with one model request: what the harness tells lies so many milliseconds before its appends."""
    context, sent, first, last, stopped = ago
    await turn.emit(RUNNING, START, after=0.25, timing=[["t3", context]])
    told = [["t5", sent], ["t6", first], ["t7", last], ["t8", stopped]]
    await turn.emit("agent.message", END, after=0.75, timing=told)
    await turn.emit(IDLE, after=0.125)


@requirement("turn-times")
async def test_a_turn_with_a_tool_tells_its_steps_and_segments_that_add_up(turn: Turn) -> None:
    await turn.say()
    turn.clock.advance(2.0)
    async with turn.leased():
        await turn.emit(RUNNING, START, after=0.5, timing=[["t3", 100]])
        await turn.emit("agent.tool_use", END, after=1.0, timing=[["t5", 900], ["t6", 600], ["t7", 300], ["t8", 250]])
        told = [["t10", 700], ["t11", 690], ["t12", 290], ["t13", 280]]
        await turn.emit(RESULT, after=0.75, timing=told)
        await turn.emit(START, after=0.25, timing=[["t3", 50]])
        await turn.emit("agent.message", END, after=0.5, timing=[["t5", 500], ["t6", 100], ["t7", 50], ["t8", 50]])
        await turn.emit("session.usage", IDLE, after=0.125)
    (timing,) = await turn.timings()

    assert timing["type"] == "turn_timing"
    assert (timing["session_id"], timing["turn"]) == (turn.session, 1)
    assert timing["session_thread_id"] == turn.session.replace("sesn_", "sthr_")
    assert (timing["first_position"], timing["last_position"]) == (1, 11)
    assert timing["total_ms"] == 5125.0
    assert timing["segments"] == {
        "harness_wait": 2000.0,
        "context": 400.0 + 100.0 + 200.0,
        "first_token": 300.0 + 400.0,
        "streaming": 350.0 + 50.0,
        "sandbox_wait": 50.0,
        "tools": 420.0,
        "log_commits": 100.0 + 250.0 + 280.0 + 50.0 + 50.0 + 125.0,
    }
    assert sum(timing["segments"].values()) == timing["total_ms"]
    steps = timing["steps"]
    assert steps["t1"] == {"at_ms": 0.0, "count": 1, "sum_ms": 0.0, "max_ms": 0.0}
    assert {name: step["at_ms"] for name, step in steps.items()} == {
        f"t{number}": at for number, at in enumerate(REACHED, start=1)
    }
    assert steps["t6"] == {"at_ms": 2900.0, "count": 2, "sum_ms": 700.0, "max_ms": 400.0}


@requirement("turn-times")
async def test_turns_come_newest_first_and_as_many_as_asked_for(turn: Turn) -> None:
    assert await turn.timings() == []
    async with turn.leased():
        for _ in range(3):
            await turn.say()
            await whole_turn(turn)
    assert [timing["turn"] for timing in await turn.timings()] == [3, 2, 1]
    (newest,) = await turn.timings("?limit=1")
    assert newest["turn"] == 3
    assert newest["steps"]["t2"] == {"at_ms": 0.0, "count": 1, "sum_ms": 0.0, "max_ms": 0.0}
    assert "harness_wait" in newest["segments"]
    for limit in ("0", "51", "x"):
        status, answer = await turn.server.user("GET", f"/sessions/{turn.session}/timings?limit={limit}")
        assert (status, answer["error"]["type"]) == (400, "invalid_request_error")


async def test_only_who_may_read_the_session_sees_its_timings(turn: Turn) -> None:
    turn.server.kubernetes.allowed = lambda _: False
    assert (await turn.server.user("GET", f"/sessions/{turn.session}/timings"))[0] == 404
    assert (await turn.server.user("GET", "/sessions/sesn_00000000000000000000000000000009/timings"))[0] == 404


async def test_input_that_waited_begins_the_next_turn_with_the_end_of_the_one_before(turn: Turn) -> None:
    await turn.say()
    async with turn.leased():
        await turn.emit(RUNNING, START, after=1.0)
        await turn.emit(END, IDLE, RUNNING, after=1.0)
        await turn.emit(START, after=0.5)
        await turn.emit(END, IDLE, after=0.5)
    second, first = await turn.timings()
    assert (first["first_position"], first["last_position"], first["total_ms"]) == (1, 5, 2000.0)
    assert (second["first_position"], second["last_position"], second["total_ms"]) == (6, 9, 1000.0)


async def test_a_replaced_harness_is_charged_to_the_wait_for_one(turn: Turn) -> None:
    await turn.say()
    async with turn.leased():
        await turn.emit(RUNNING, START, after=1.0)
        turn.clock.advance(0.5)
    async with turn.leased():
        await turn.emit(END, START, after=0.25, timing=[["t3", 250]])
        await turn.emit(END, IDLE, after=0.25)
    (timing,) = await turn.timings()
    assert timing["steps"]["t2"] == {"at_ms": 0.0, "count": 2, "sum_ms": 500.0, "max_ms": 500.0}
    assert timing["segments"] == {"harness_wait": 500.0, "context": 0.0, "log_commits": 1500.0}


async def test_what_a_fenced_harness_tells_and_what_a_repeat_tells_again_does_not_count(turn: Turn) -> None:
    await turn.say()
    async with turn.leased():
        assert await turn.emit(RUNNING, START, after=1.0, epoch=9, timing=[["t3", 900]]) == 409
        start = {"epoch": 1, "events": [agent_event(RUNNING), agent_event(START)], "timing": [["t3", 400]]}
        assert await turn.post(start) == 200
        turn.clock.advance(1.0)
        assert await turn.post(start) == 200
        await turn.emit(END, IDLE, after=0.5)
    (timing,) = await turn.timings()
    assert timing["segments"]["context"] == 600.0
    assert timing["steps"]["t3"]["count"] == 1
    assert timing["total_ms"] == 2500.0


@pytest.mark.parametrize(
    "timing",
    [
        [["t5", 3_600_000], ["t6", 7_200_000], ["t8", 0]],
        [["t8", 10], ["t5", 700]],
        [["t1", 3], ["t16", 5], ["t5", -1], ["nothing", 1], 7],
        {"t5": 1},
        "soon",
        [["t5", 1e300]],
    ],
)
async def test_no_word_of_a_harness_makes_a_turn_longer_or_fail(turn: Turn, timing: object) -> None:
    await turn.say()
    async with turn.leased():
        assert await turn.emit(RUNNING, START, after=1.0) == 200
        assert await turn.emit(END, IDLE, after=1.0, timing=timing) == 200
    (found,) = await turn.timings()
    assert found["total_ms"] == sum(found["segments"].values()) == 2000.0
    assert found["steps"]["t16"]["at_ms"] == 2000.0


@requirement("turn-times")
@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_wall_clock_that_jumps_in_the_middle_changes_no_time(tmp_path: Path, hours: int) -> None:
    async def record(folder: Path, jump: timedelta) -> dict[str, Any]:
        async with turn_on(folder) as turn, turn.leased():
            await turn.say()
            turn.clock.skew(jump)
            await whole_turn(turn)
            return {key: value for key, value in (await turn.timings())[0].items() if key != "ended_at"}

    straight = await record(tmp_path / "a", timedelta())
    assert await record(tmp_path / "b", timedelta(hours=hours)) == straight


@requirement("turn-times")
async def test_records_outlive_a_restart_which_leaves_the_turn_under_way_without_one(tmp_path: Path) -> None:
    async with turn_on(tmp_path) as turn, turn.leased():
        await turn.say()
        await whole_turn(turn)
        await turn.say()
        await turn.emit(RUNNING, START)
    async with turn_on(tmp_path) as turn, turn.leased():
        await turn.emit(END, IDLE)
        assert [timing["turn"] for timing in await turn.timings()] == [1]
        await turn.say()
        await whole_turn(turn)
        assert [timing["turn"] for timing in await turn.timings()] == [3, 1]


async def test_a_session_that_ends_has_no_record_of_the_turn_that_was_cut(turn: Turn) -> None:
    await turn.say()
    async with turn.leased():
        await turn.emit(RUNNING, START)
        status, _ = await turn.server.operator("PUT", f"/sessions/{turn.session}", {"archived": True, "events": []})
        assert status == 200
        assert await turn.timings() == []
    assert turn.server.running is not None
    assert len(turn.server.running.context.timings) == 0


@requirement("turn-times")
async def test_prometheus_sees_each_segment_of_a_turn(turn: Turn) -> None:
    await turn.say()
    turn.clock.advance(0.5)
    async with turn.leased():
        await whole_turn(turn)
    async with turn.server.http.get(turn.server.public_url + "/metrics") as response:
        lines = (await response.text()).splitlines()
    assert "managed_agents_server_turn_seconds_sum 1.625" in lines
    assert 'managed_agents_server_turn_segment_seconds_sum{segment="harness_wait"} 0.5' in lines
    assert 'managed_agents_server_turn_segment_seconds_count{segment="first_token"} 1.0' in lines
    assert 'managed_agents_server_turn_segment_seconds_count{segment="tools"} 0.0' in lines
