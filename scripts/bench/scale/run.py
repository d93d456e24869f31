"""`python -m bench scale`: thousands of sessions and wakes under kwok, a real control plane, operator and server.

Everything runs on this machine as processes on loopback and ends with the command. JSON lines say what was measured.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp

from bench import results
from bench.scale import deployments, sessions, wakes
from bench.scale.commands import Rates
from bench.scale.figures import highest_held
from bench.scale.parts import Bench, Tell, opened
from bench.scale.tally import Tally
from bench.scale.world import MissingError, World, world
from managed_agents.contracts.errors import ManagedAgentsError

FIRST_SESSIONS = 1000
RAISED = Rates(qps=500)
"""Enough for kube-controller-manager never to wait for its own limit on this machine."""
BROKEN = (OSError, RuntimeError, aiohttp.ClientError, ManagedAgentsError)
"""What may go wrong in a phase without ending those after it; TimeoutError is an OSError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run shall do."""

    sessions: int
    sweep: list[tuple[float, float]]
    """Rates of wakes with the seconds of each, for the harnesses that never run out."""
    deployments: int
    pool: int
    pool_sweep: list[tuple[float, float]]
    nodes: int
    phases: tuple[str, ...]


def main(arguments: Sequence[str]) -> int:
    """Run it; 0 when every phase came to its end."""
    plan, output = _plan(arguments)
    with _told(output) as tell:
        tell("machine", **results.machine(), **asdict(plan))
        with tempfile.TemporaryDirectory(prefix="bench-scale-") as folder:
            try:
                with world(Path(folder), nodes=plan.nodes, rates=Rates()) as place:
                    asyncio.run(_run(place, plan, tell))
            except MissingError as missing:
                sys.stderr.write(f"bench scale: {missing}\n")
                return 1
        tell("ended")
    return 0


async def _run(place: World, plan: Plan, tell: Tell) -> None:
    async with opened(place, tell) as bench:
        have: list[str] = []
        await bench.looks.settled()
        empty = await bench.looks.now()
        tell("empty", memory_mb=empty.memory, etcd_bytes=empty.etcd_bytes, load=empty.load)
        for target in sorted({min(FIRST_SESSIONS, plan.sessions), plan.sessions}):
            await sessions.grow(bench, empty, have, target)
        tally = Tally(idle=deque(have))
        for phase in PHASES:
            if phase in plan.phases:
                try:
                    await PHASES[phase](bench, tally, plan)
                except BROKEN as problem:
                    tell("failed", phase=phase, why=f"{type(problem).__name__}: {problem}"[:500])


async def _starts(bench: Bench, _: Tally, plan: Plan) -> None:
    await sessions.restart_operator(bench, plan.sessions)
    await sessions.restart_server(bench, plan.sessions)


async def _deployments(bench: Bench, _: Tally, plan: Plan) -> None:
    await deployments.alone(bench, plan.deployments, rates="as kubeadm sets them")
    bench.place.start_controllers(RAISED)
    await deployments.alone(bench, plan.deployments, rates=f"{RAISED.qps} requests/s for each controller")


async def _pool(bench: Bench, tally: Tally, plan: Plan) -> None:
    bench.place.start_controllers(RAISED)
    whole = await deployments.pool(bench, tally, size=plan.pool, rates=plan.pool_sweep)
    bench.tell("whole_wakes_held", per_second=highest_held(whole))


async def _wakes(bench: Bench, tally: Tally, plan: Plan) -> None:
    bench.tell("wakes_held", per_second=highest_held(await wakes.sweep(bench, tally, plan.sweep)))


Phase = Callable[[Bench, Tally, Plan], Awaitable[None]]
PHASES: Mapping[str, Phase] = {"starts": _starts, "deployments": _deployments, "pool": _pool, "wakes": _wakes}


def _plan(arguments: Sequence[str]) -> tuple[Plan, Path | None]:
    parser = argparse.ArgumentParser(prog="bench scale", description=__doc__)
    parser.add_argument("--sessions", type=int, default=10_000, help="idle sessions to make")
    parser.add_argument("--rate", type=float, default=300.0, help="wakes a second of the last load")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the last load")
    parser.add_argument("--sweep", type=float, nargs="*", default=[], help="rates of loads before the last one")
    parser.add_argument("--sweep-seconds", type=float, default=15.0, help="length of each of those")
    parser.add_argument("--deployments", type=int, help="harness Deployments made at once; default: by the sessions")
    parser.add_argument("--pool", type=int, help="warm harnesses that the operator keeps; default: by the sessions")
    parser.add_argument("--pool-rates", type=float, nargs="*", default=[2.0], help="wakes a second against that pool")
    parser.add_argument("--nodes", type=int, help="nodes of kwok; default: by the sessions")
    parser.add_argument("--phases", nargs="*", choices=tuple(PHASES), default=tuple(PHASES), help="after the sessions")
    parser.add_argument("--output", type=Path, help="the file of JSON lines; default: a new one in the cache folder")
    asked = parser.parse_args(arguments)
    sweep = [(rate, asked.sweep_seconds) for rate in asked.sweep]
    plan = Plan(
        sessions=asked.sessions,
        sweep=[*sweep, (asked.rate, asked.seconds)],
        deployments=asked.deployments or min(max(asked.sessions // 20, 10), 200),
        pool=asked.pool or min(max(asked.sessions // 20, 10), 200),
        pool_sweep=[(rate, min(asked.seconds, asked.sweep_seconds)) for rate in asked.pool_rates],
        nodes=asked.nodes or min(max(asked.sessions // 30, 10), 300),
        phases=tuple(asked.phases),
    )
    return plan, asked.output


@contextmanager
def _told(output: Path | None) -> Iterator[Tell]:
    """Yield what writes JSON lines to a file and shows them."""
    taken = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    target = output or results.folder() / f"scale-{taken}.jsonl"
    target.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with target.open("w", buffering=1) as file:

        def tell(kind: str, **fields: Any) -> None:
            line = json.dumps({"kind": kind, "at_seconds": round(time.monotonic() - started, 1), **fields})
            file.write(line + "\n")
            print(line, flush=True)

        yield tell
    print(f"scale: {target}")
