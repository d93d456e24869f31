"""What the SQLite backend does when the disk lies, fails or is full (F1-F4)."""

import asyncio
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import apsw
import pytest

from managed_agents.contracts.ids import new_event_id
from managed_agents.eventlog.errors import DamagedError, UnavailableError
from managed_agents.eventlog.projection import Projection
from managed_agents.eventlog.records import Slice
from managed_agents.eventlog.sqlite import SqliteEventLog, open_event_log
from managed_agents.eventlog.sqlite.schema import CHECKPOINT_PAGES, require_version
from managed_agents.eventlog.store import Append
from support.requirements import requirement

SESSION, OTHER = "sesn_00000000000000000000000000000001", "sesn_00000000000000000000000000000002"


def open_log(directory: Path, failures: list[BaseException] | None = None) -> SqliteEventLog:
    return open_event_log(directory, on_fatal=(failures if failures is not None else []).append)


def nothing(_: Mapping[str, Any], __: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return []


async def create(log: SqliteEventLog, session: str) -> None:
    await log.put({"id": session, "uid": session, "namespace": "n", "name": "s"}, nothing)


async def append(log: SqliteEventLog, session: str, text: str = "x") -> int:
    event = {"type": "user.message", "content": [{"type": "text", "text": text}]}
    return (await log.append(Append(session=session, events=[event], admit=lambda *_: False, sender={}))).head


def execute(directory: Path, sql: str, *bindings: Any) -> None:
    connection = apsw.Connection(str(directory / "events.sqlite3"))
    connection.execute(sql, bindings)
    connection.close()


@requirement("I3", "F3")
@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE events SET body = replace(body, 'second', 'SECOND') WHERE key & 0xffffffff = 2",
        "UPDATE events SET processed_at = '2026-01-01T00:00:00.000000Z' WHERE key & 0xffffffff = 2",
        "UPDATE events SET body = 7 WHERE key & 0xffffffff = 2",
        "DELETE FROM events WHERE key & 0xffffffff = 2",
    ],
)
async def test_a_damaged_record_makes_its_session_read_only_and_others_serve(tmp_path: Path, damage: str) -> None:
    log = open_log(tmp_path)
    await create(log, SESSION)
    for text in ("first", "second", "third"):
        await append(log, SESSION, text)
    await create(log, OTHER)
    await log.close()
    execute(tmp_path, damage)
    log = open_log(tmp_path)
    heard: list[str | None] = []
    log.listen(lambda change: heard.append(change.session.damage if change.session else None))
    assert (await log.session(SESSION)).wanted is True
    with pytest.raises(DamagedError):
        await log.read(SESSION, Slice())
    with pytest.raises(DamagedError):
        await append(log, SESSION)
    session = await log.session(SESSION)
    assert (session.wanted, session.projection.head) == (False, 3)
    assert heard == [session.damage]
    assert [event.position for event in await log.read(SESSION, Slice(limit=1))] == [1]
    assert await append(log, OTHER) == 1
    assert await log.delete(SESSION) is True
    await log.close()


async def test_a_lost_tail_is_noticed_when_the_session_is_opened(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    await create(log, SESSION)
    for _ in range(3):
        await append(log, SESSION)
    await log.close()
    execute(tmp_path, "DELETE FROM events WHERE key & 0xffffffff = 3")
    log = open_log(tmp_path)
    assert "3 were acknowledged" in ((await log.session(SESSION)).damage or "")
    with pytest.raises(DamagedError):
        await append(log, SESSION)
    await log.close()


async def say(log: SqliteEventLog, session: str, text: str) -> None:
    epoch = (await log.take_epoch(session)).epoch
    said = {"id": new_event_id(), "type": "agent.message", "content": [{"type": "text", "text": text}]}
    await log.append(Append(session=session, events=[said], epoch=epoch))


async def test_the_last_message_is_known_after_a_restart_though_only_its_position_is_kept(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    await create(log, SESSION)
    await say(log, SESSION, "the answer")
    await append(log, SESSION)
    expected = await log.session(SESSION)
    assert expected.projection.last_message == {"text": "the answer", "truncated": False, "position": 1}
    await log.close()
    log = open_log(tmp_path)
    assert await log.session(SESSION) == expected
    await log.close()


@requirement("F3")
@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE events SET body = replace(body, 'answer', 'ANSWER') WHERE key & 0xffffffff = 1",
        "DELETE FROM events WHERE key & 0xffffffff = 1",
    ],
)
async def test_a_damaged_last_message_is_noticed_when_the_session_is_opened(tmp_path: Path, damage: str) -> None:
    log = open_log(tmp_path)
    await create(log, SESSION)
    await say(log, SESSION, "the answer")
    await append(log, SESSION)
    await log.close()
    execute(tmp_path, damage)
    log = open_log(tmp_path)
    session = await log.session(SESSION)
    assert "position 1" in (session.damage or "")
    assert (session.projection.head, session.projection.last_message) == (2, None)
    await log.close()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE projections SET projection = replace(projection, 'idle', 'IDLE')",
        "UPDATE projections SET version = 0",
        "DELETE FROM projections",
    ],
)
async def test_a_damaged_or_outdated_projection_is_folded_anew(tmp_path: Path, damage: str) -> None:
    log = open_log(tmp_path)
    await create(log, SESSION)
    await append(log, SESSION)
    epoch = (await log.take_epoch(SESSION)).epoch
    idle = {"id": new_event_id(), "type": "session.status_idle", "stop_reason": {"type": "end_turn"}}
    await log.append(Append(session=SESSION, events=[idle], epoch=epoch))
    expected = await log.session(SESSION)
    await log.close()
    execute(tmp_path, damage)
    log = open_log(tmp_path)
    assert await log.session(SESSION) == expected
    await log.close()


@requirement("I1", "F2")
async def test_every_cut_of_the_wal_opens_with_what_was_acknowledged(tmp_path: Path) -> None:
    """Copies of database and WAL after each acknowledgement, cut at later bytes, hold all of it, whole (F2)."""
    live, copies = tmp_path / "live", tmp_path / "copies"
    log = open_log(live)
    await create(log, SESSION)
    acknowledged: list[tuple[int, int]] = []  # size of the WAL, head
    for number in range(4):
        head = await append(log, SESSION, f"event {number} " + "x" * 100)
        acknowledged.append(((live / "events.sqlite3-wal").stat().st_size, head))
    shutil.copytree(live, copies)
    await log.close()
    wal = (copies / "events.sqlite3-wal").read_bytes()
    database = (copies / "events.sqlite3").read_bytes()
    start = acknowledged[0][0]
    for number, cut in enumerate(range(start, len(wal) + 1, 509)):
        least = max(head for size, head in acknowledged if size <= cut)
        for garbled in (False, True):
            tail = bytes(byte ^ 0xFF for byte in wal[cut:]) if garbled else b""
            directory = tmp_path / f"cut-{number}-{garbled}"
            directory.mkdir()
            (directory / "events.sqlite3").write_bytes(database)
            (directory / "events.sqlite3-wal").write_bytes(wal[:cut] + tail)
            reopened = open_log(directory)
            found = [event.position for event in await reopened.read(SESSION, Slice())]
            assert found == list(range(1, len(found) + 1))
            assert len(found) >= least
            assert (await reopened.session(SESSION)).projection.head == len(found)
            assert await append(reopened, SESSION) == len(found) + 1
            await reopened.close()


@requirement("log-turns")
async def test_a_session_is_shown_as_committed_while_others_commit(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    await create(log, SESSION)
    await append(log, SESSION)
    appending = asyncio.ensure_future(append(log, SESSION))
    await asyncio.sleep(0)
    reading = asyncio.ensure_future(log.session(SESSION))
    await asyncio.sleep(0)
    assert reading.done()  # without a turn on the database thread
    assert (await reading).projection.head in (1, 2)
    await appending
    assert (await log.session(SESSION)).projection.head == 2
    await log.close()
    with pytest.raises(UnavailableError):
        await log.session(SESSION)


async def test_the_wal_stays_bounded(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    await create(log, SESSION)
    for _ in range(20):  # a quarter of a full WAL each
        await append(log, SESSION, "x" * (CHECKPOINT_PAGES * 1024))
    assert (tmp_path / "events.sqlite3-wal").stat().st_size < 2 * CHECKPOINT_PAGES * 4096
    await log.close()


def test_an_old_sqlite_is_refused() -> None:
    for found in ("3.51.2", "3.45.1"):
        with pytest.raises(RuntimeError, match=r"3\.51\.3"):
            require_version(found)
    require_version("3.51.3")
    require_version("3.100.0")


async def test_a_second_server_on_the_same_volume_is_refused(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    with pytest.raises(RuntimeError, match="another server"):
        open_log(tmp_path)
    await log.close()


async def test_boot_grows_and_the_secret_stays(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    boot, secret = log.boot, log.secret
    await log.close()
    log = open_log(tmp_path)
    assert (log.boot, log.secret, len(secret)) == (boot + 1, secret, 32)
    await log.close()


async def test_a_projection_of_a_fresh_session_is_empty(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    await create(log, SESSION)
    session = await log.session(SESSION)
    now = session.created_at
    assert session.projection == Projection(status_since=now, last_at=now)
    await log.close()
