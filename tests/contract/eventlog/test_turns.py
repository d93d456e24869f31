"""Records of turns: kept without a commit of their own, the last ones only, and gone with their session."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import apsw
import pytest

from managed_agents.contracts.errors import NotFoundError
from managed_agents.contracts.turn_timing import TURNS_KEPT, Step, StepTime, TurnTiming
from managed_agents.eventlog.sqlite import SqliteEventLog, open_event_log
from managed_agents.eventlog.store import Append

SESSION, OTHER = "sesn_00000000000000000000000000000001", "sesn_00000000000000000000000000000002"


def on_fatal(error: BaseException) -> None:
    raise AssertionError(error)


def nothing(_: Mapping[str, Any], __: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return []


async def create(log: SqliteEventLog, session: str) -> None:
    await log.put({"id": session, "uid": session, "namespace": "n", "name": "s"}, nothing)


async def append(log: SqliteEventLog, *kinds: str, session: str = SESSION) -> int:
    events = [{"type": kind} for kind in kinds]
    return (await log.append(Append(session=session, events=events))).head


def turn(number: int, session: str = SESSION) -> TurnTiming:
    return TurnTiming(
        session=session,
        thread="sthr_1",
        turn=number,
        first_position=number * 10,
        last_position=number * 10 + 9,
        ended_at="2026-01-02T03:04:05.000006Z",
        steps={Step.INPUT: StepTime(0, 1, 0, 0), Step.ENDED: StepTime(number, 1, number, number)},
    )


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[SqliteEventLog]:
    opened = open_event_log(tmp_path, on_fatal=on_fatal)
    await create(opened, SESSION)
    yield opened
    await opened.close()


def rows(directory: Path) -> int:
    """Count what is on the disk; the log must be closed, or the copy of one."""
    with apsw.Connection(str(directory / "events.sqlite3")) as connection:
        count: int = connection.execute("SELECT count(*) FROM turns").get
    connection.close()
    return count


async def test_a_record_is_read_at_once_and_written_with_the_next_commit_only(log: SqliteEventLog) -> None:
    before = await changes(log)
    log.note_turn(turn(1))
    assert await log.turns(SESSION, 10) == [turn(1)]
    assert await changes(log) == before
    await append(log, "session.usage")
    log.note_turn(turn(2))
    assert await log.turns(SESSION, 10) == [turn(2), turn(1)]
    assert await log.turns(SESSION, 1) == [turn(2)]


async def changes(log: SqliteEventLog) -> int:
    """Count the rows that the log's connection has written since it was opened."""
    return await log._worker.read(log._state.connection.total_changes)


async def test_the_last_records_of_each_session_are_kept(log: SqliteEventLog) -> None:
    await create(log, OTHER)
    log.note_turn(turn(1, OTHER))
    for number in range(1, TURNS_KEPT + 25):
        log.note_turn(turn(number))
        await append(log, "session.usage")
    assert await log.turns(SESSION, 1000) == [turn(number) for number in range(TURNS_KEPT + 24, 24, -1)]
    assert await log.turns(OTHER, 1000) == [turn(1, OTHER)]
    assert await log._worker.read(lambda: log._state.connection.execute("SELECT count(*) FROM turns").get) < 61


async def test_a_log_that_is_closed_keeps_its_records_and_a_crash_may_lose_the_last(tmp_path: Path) -> None:
    log = open_event_log(tmp_path, on_fatal=on_fatal)
    await create(log, SESSION)
    log.note_turn(turn(1))
    await append(log, "session.usage")
    log.note_turn(turn(2))
    await log.close()
    assert rows(tmp_path) == 2
    again = open_event_log(tmp_path, on_fatal=on_fatal)
    assert await again.turns(SESSION, 10) == [turn(2), turn(1)]
    await again.close()


async def test_records_go_with_their_session_also_those_that_wait(log: SqliteEventLog) -> None:
    log.note_turn(turn(1))
    await append(log, "session.usage")
    log.note_turn(turn(2))
    await log.delete(SESSION)
    log.note_turn(turn(3))
    await create(log, OTHER)
    with pytest.raises(NotFoundError):
        await log.turns(SESSION, 10)
    assert await log._worker.read(lambda: log._state.connection.execute("SELECT count(*) FROM turns").get) == 0
    assert log._turns.waiting() == []


async def test_a_record_that_cannot_be_stored_is_dropped_and_the_next_commit_succeeds(log: SqliteEventLog) -> None:
    await log._worker.read(lambda: log._state.connection.execute("DROP TABLE turns").fetchall())
    log.note_turn(turn(1))
    with pytest.raises(apsw.SQLError):
        await append(log, "session.usage")
    assert await append(log, "session.usage") == 1


async def test_turns_are_counted_by_the_log_itself(log: SqliteEventLog) -> None:
    assert (await log.session(SESSION)).projection.turns == 0
    await append(log, "session.status_running", "session.status_idle", "session.status_running")
    assert (await log.session(SESSION)).projection.turns == 1
    await append(log, "session.status_idle")
    assert (await log.session(SESSION)).projection.turns == 2
