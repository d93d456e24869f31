"""P1: what a durable step costs, ours beside DBOS and LangGraph, each on SQLite on this machine."""

import json
import os
import sqlite3
import tempfile
import time
from pathlib import Path

from bench.peers.home import said_by
from bench.stage import Order, Sample, Samples, Side, Stage
from bench.streams.child import child
from bench.streams.phases import appending

STEPS = 400
COMMITS = 3
"""A step of ours is three commits: request begun, response, tool result."""
HERE = Path(__file__).parent


def _raw_commits(path: str, count: int) -> list[float]:
    """Return the milliseconds of commits of a thousand characters to SQLite, as durable as ours."""
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "CREATE TABLE steps (body TEXT)"):
        connection.execute(statement)
    found = []
    for _ in range(count):
        started = time.perf_counter()
        connection.execute("INSERT INTO steps VALUES (?)", ("x" * 1000,))
        found.append((time.perf_counter() - started) * 1000)
    connection.close()
    return found


async def _ours(folder: str, count: int) -> list[float]:
    found = []
    async with child("bench.streams.product", folder) as product:
        sessions = await product.do("prepare", name="steps", count=1)
        async with appending(product, sessions) as append:
            for _ in range(count):
                started = time.perf_counter()
                for _ in range(COMMITS):
                    await append(sessions[0][0], 330)
                found.append((time.perf_counter() - started) * 1000)
    return found


async def _measure(order: Order) -> Samples:
    count = order.count(STEPS)
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        floor, twin = (_raw_commits(f"{folder}/raw-{side}.sqlite", count) for side in (Side.FLOOR, Side.TWIN))
        measured = {
            "Managed Agents: 3 appends over HTTP": await _ours(folder, count),
            "DBOS: a step": json.loads(await said_by(HERE / "steps_dbos.py", folder, str(count))),
            "LangGraph: a node with its checkpoint": json.loads(
                await said_by(HERE / "steps_langgraph.py", folder, str(count))
            ),
        }
    for case, values in measured.items():
        for side, found in ((Side.PATH, values), (Side.FLOOR, floor), (Side.TWIN, twin)):
            for value in found:
                yield Sample(case=case, value=value, side=side)


STAGE = Stage(
    id="P1",
    title="step cost beside DBOS and LangGraph",
    path="a durable step of a thousand characters",
    floor="one commit to SQLite (WAL, synchronous=FULL) of the same size",
    target="none: a comparison",
    seconds_max=300,
    alone=_measure,
    is_quick=False,
    note="Not the same promise: DBOS and LangGraph write in the process that works; a step of ours crosses HTTP to a "
    "server that fences the writer, and is three commits. Each peer keeps the pragmas of its SQLite backend.",
)
