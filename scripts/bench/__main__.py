"""Runs the benches that exist and prints their table; raw samples are kept as JSON lines in the cache folder."""

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench import first_token, log, tool_round_trip
from bench.stage import bench_namespace, simulator
from bench.stats import Row, table
from bench.streams import run
from cluster.paths import paths_from
from support.cluster import message, script


def main() -> int:
    """Measure on the running cluster, or here many streams of one server, or the log; 0 when every bench ran."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("what", nargs="?", choices=("cluster", "streams", "log"), default="cluster")
    parser.add_argument("--turns", type=int, default=200, help="turns of the first-token bench")
    parser.add_argument("--calls", type=int, default=200, help="tool calls of the round-trip bench")
    parser.add_argument("--samples", type=int, default=3200, help="of log: appends of a load, and reads of a place")
    parser.add_argument("--events", type=int, default=200_000, help="of log: how long the log is that is read")
    parser.add_argument("--phase", action="append", choices=tuple(run.PHASES), default=[], help="of streams: only this")
    arguments = parser.parse_args()
    if arguments.what == "streams":
        print(run.measure(run.Plan(), arguments.phase))
        return 0
    if arguments.what == "log":
        rows, rates = asyncio.run(_log(arguments.samples, arguments.events))
    else:
        rows, rates = _run(arguments.turns, arguments.calls), []
    print(table(rows))
    print("".join(f"  {rate.line()}\n" for rate in rates), end="")
    print(f"raw samples: {_keep(rows)}")
    return 0


def _run(turns: int, calls: int) -> list[Row]:
    with simulator() as model, bench_namespace() as namespace:
        print(f"bench: {turns} turns to the first token", flush=True)
        namespace.create_session("turns", message("first", script({"text": "ready"})))
        namespace.wait_idle("turns")
        session = namespace.session_id("turns")
        api, key = os.environ["ANTHROPIC_BASE_URL"], namespace.client.api_key or ""
        first = asyncio.run(first_token.measure(api=api, key=key, session=session, model=model, turns=turns))
        print(f"bench: {calls} tool calls", flush=True)
        return [first, tool_round_trip.measure(namespace, calls=calls)]


async def _log(samples: int, events: int) -> tuple[list[Row], list[log.Rate]]:
    rows, rates = await log.appends(samples)
    return [*rows, *await log.reads(events, samples)], rates


def _keep(rows: Sequence[Row]) -> Path:
    folder = paths_from().cache / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{time.strftime('%Y%m%dT%H%M%S')}.jsonl"
    with target.open("w") as file:
        for row in rows:
            for kind, name, values in (("sample", row.name, row.samples), ("floor", row.floor_name, row.floor)):
                file.writelines(json.dumps({"kind": kind, "path": name, "ms": value}) + "\n" for value in values)
    return target


if __name__ == "__main__":
    sys.exit(main())
