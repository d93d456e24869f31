"""B5 and B6: appends beside a raw fdatasync of the same bytes, and slices of a long log beside plain SQL."""

import asyncio
import os
import sqlite3
import tempfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.stats import Row
from managed_agents.eventlog.records import Config, Slice
from managed_agents.eventlog.sqlite import open_event_log
from managed_agents.eventlog.store import Append, EventLog

LOADS = ((1, 1_000), (1, 65_536), (8, 1_000), (64, 1_000), (64, 65_536))
"""Writers at once, each on a session of its own, and bytes of an event."""

SLICE = 100
BATCH = 500

ROUNDS = 8
"""The floor is measured between rounds, so that a machine that changes its pace changes both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How many events a second one load reached, and the microseconds of CPU of each, of all threads together."""

    name: str
    per_second: float
    cpu: float

    def line(self) -> str:
        """Return a line for the table's foot."""
        return f"{self.name}: {self.per_second:,.0f} events/s, {self.cpu:.0f} us of CPU each"


async def appends(samples: int) -> tuple[list[Row], list[Rate]]:
    """Measure append → acknowledgement; `samples` appends a load, in a fresh log each."""
    rows, rates = [], []
    for writers, size in LOADS:
        name = f"B5 append, {writers} writers, {size / 1000:.0f} KB"
        print(f"bench: {name}", flush=True)
        floor: list[float] = []
        found: list[float] = []
        seconds = cpu = 0.0
        with tempfile.TemporaryDirectory() as folder:
            log = open_event_log(Path(folder), on_fatal=_fatal)
            try:
                sessions = [await _session(log, number) for number in range(writers)]
                for number in range(ROUNDS):
                    floor += _fdatasyncs(Path(folder) / f"raw-{number}", size, samples // ROUNDS)
                    started, began = time.perf_counter(), time.process_time()
                    found += await _append(log, sessions, size, samples // ROUNDS // writers)
                    seconds += time.perf_counter() - started
                    cpu += time.process_time() - began
            finally:
                await log.close()
        rows.append(Row(name=name, samples=found, floor_name="write and fdatasync of the same bytes", floor=floor))
        rates.append(Rate(name=name, per_second=len(found) / seconds, cpu=cpu / len(found) * 1e6))
    return rows, rates


async def reads(events: int, samples: int) -> list[Row]:
    """Measure slices of 100 at the head, the middle and the tail of a log of so many events."""
    with tempfile.TemporaryDirectory() as folder:
        log = open_event_log(Path(folder), on_fatal=_fatal)
        try:
            session = await _session(log, 0)
            print(f"bench: a log of {events} events", flush=True)
            for _ in range(0, events, BATCH):
                batch = [_event(1000) for _ in range(BATCH)]
                await log.append(Append(session=session, epoch=1, events=batch))
            plain = PlainTable(Path(folder) / "plain.sqlite", events)
            rows = [await _beside(log, session, plain, name, at, samples) for name, at in _places(events)]
            plain.close()
        finally:
            await log.close()
    return rows


async def _beside(log: EventLog, session: str, plain: "PlainTable", name: str, at: int, samples: int) -> Row:
    found: list[float] = []
    floor: list[float] = []
    for _ in range(ROUNDS):
        floor += plain.read(at, samples // ROUNDS)
        found += await _read(log, session, at, samples // ROUNDS)
    return Row(name=f"B6 slice of {SLICE} at the {name}", samples=found, floor_name="plain SQL", floor=floor)


def _places(events: int) -> Sequence[tuple[str, int]]:
    return (("head", 0), ("middle", events // 2), ("tail", events - SLICE))


async def _append(log: EventLog, sessions: Sequence[str], size: int, each: int) -> list[float]:
    found: list[float] = []

    async def write(session: str) -> None:
        for _ in range(each):
            start = time.perf_counter()
            await log.append(Append(session=session, epoch=1, events=[_event(size)]))
            found.append((time.perf_counter() - start) * 1000)

    await asyncio.gather(*(write(session) for session in sessions))
    return found


async def _session(log: EventLog, number: int) -> str:
    session = f"sesn_{number:032x}"
    config: Config = {"id": session, "uid": str(number), "namespace": "bench", "name": f"s-{number}"}
    await log.put(config, _unsaid)
    await log.take_epoch(session)
    return session


def _unsaid(_before: Config, _after: Config) -> Sequence[dict[str, Any]]:
    return ()


def _event(size: int) -> dict[str, Any]:
    return {
        "id": f"sevt_{uuid.uuid4().hex}",
        "type": "agent.message",
        "content": [{"type": "text", "text": "x" * size}],
    }


async def _read(log: EventLog, session: str, after: int, samples: int) -> list[float]:
    found = []
    for _ in range(samples):
        start = time.perf_counter()
        events = await log.read(session, Slice(after=after, limit=SLICE))
        found.append((time.perf_counter() - start) * 1000)
        if len(events) != SLICE:
            raise RuntimeError(f"a slice after {after} holds {len(events)} events, not {SLICE}")
    return found


def _fdatasyncs(path: Path, size: int, samples: int) -> list[float]:
    found, body = [], b"x" * size
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)
    try:
        for number in range(samples):
            start = time.perf_counter()
            os.pwrite(descriptor, body, number * size)
            os.fdatasync(descriptor)
            found.append((time.perf_counter() - start) * 1000)
    finally:
        os.close(descriptor)
    return found


class PlainTable:
    """The floor of reads: one table of bodies by position, read by its primary key on this thread."""

    def __init__(self, path: Path, events: int) -> None:
        self._connection = sqlite3.connect(path)
        self._connection.execute("CREATE TABLE events (position INTEGER PRIMARY KEY, body BLOB)")
        body = b"x" * 1100
        self._connection.executemany("INSERT INTO events VALUES (?, ?)", ((n + 1, body) for n in range(events)))
        self._connection.commit()

    def read(self, after: int, samples: int) -> list[float]:
        """Return the milliseconds of each read."""
        found = []
        for _ in range(samples):
            start = time.perf_counter()
            query = "SELECT position, body FROM events WHERE position > ? ORDER BY position LIMIT ?"
            self._connection.execute(query, (after, SLICE)).fetchall()
            found.append((time.perf_counter() - start) * 1000)
        return found

    def close(self) -> None:
        """Close the database."""
        self._connection.close()


def _fatal(error: BaseException) -> None:
    raise RuntimeError("the log gave up") from error
