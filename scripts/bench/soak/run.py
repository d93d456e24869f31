"""`python -m bench soak --minutes N`: JSON lines of samples and failed turns, at the end a slope for each figure."""

import argparse
import asyncio
import dataclasses
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from anthropic import AsyncAnthropic

from bench.soak.load import Failure, Tally, live
from bench.soak.processes import sampled
from bench.soak.series import SAMPLES_MIN, trends
from cluster.paths import paths_from
from support.cluster import Namespace, agent, environment, kubectl, message, provider, script, tenant

NAMESPACE = "soak"
WINDOW_TOKENS = 30_000
"""So small that conversations are compacted again and again: what a harness keeps has a bound, as in a real month."""
SAMPLE_SECONDS_MAX = 30.0
TOKEN_MINUTES_MORE = 60

Tell = Callable[..., None]
Samples = list[tuple[float, dict[str, float]]]
"""Seconds since the start, and figures."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What the load works on: a key of the public API, and the ids of sessions that are ready."""

    key: str
    sessions: tuple[str, ...]


def main(arguments: Sequence[str]) -> int:
    """Soak the running cluster; 0 when no turn failed and no figure left its plateau."""
    parser = argparse.ArgumentParser(prog="bench soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--sessions", type=int, default=8, help="sessions that work at once")
    parser.add_argument("--period", type=float, default=5.0, help="seconds from one turn of a session to its next")
    parser.add_argument("--output", type=Path, help="the file of JSON lines; default: a new one in the cache folder")
    plan = parser.parse_args(arguments)
    target = plan.output or _new_file()
    with target.open("w", buffering=1) as file:

        def tell(kind: str, **fields: Any) -> None:
            line = json.dumps({"kind": kind, **fields})
            file.write(line + "\n")
            print(line, flush=True)

        with _staged(plan.sessions, plan.minutes) as stage:
            samples, failed = asyncio.run(_soak(stage, plan.minutes * 60, plan.period, tell))
        grown = _told(samples, tell)
    print(f"soak: {failed} failed turns; left their plateau: {', '.join(grown) or 'none'}; samples: {target}")
    return 1 if failed or grown else 0


@contextmanager
def _staged(count: int, minutes: float) -> Iterator[Stage]:
    """Make a tenant with that many sessions that have had their first turn, with a tool."""
    kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", seconds=180)
    with tenant(NAMESPACE) as namespace:
        model = provider()
        model["spec"]["models"][0]["contextWindowTokens"] = WINDOW_TOKENS
        namespace.apply(model, agent(), environment(idle_seconds=3600))
        names = [f"soak-{number}" for number in range(count)]
        first = script({"tool": "bash", "input": {"command": "echo ready"}}, {"text": "ready"})
        for name in names:
            namespace.create_session(name, message("first", first))
        for name in names:
            namespace.wait_idle(name, seconds=300)
        yield Stage(key=_key(namespace, minutes), sessions=tuple(map(namespace.session_id, names)))


def _key(namespace: Namespace, minutes: float) -> str:
    lasts = f"--duration={int(minutes + TOKEN_MINUTES_MORE)}m"
    return kubectl("create", "token", "-n", namespace.name, "developer", lasts).strip()


async def _soak(stage: Stage, seconds: float, period: float, tell: Tell) -> tuple[Samples, int]:
    """Run the load and sample beside it; return the samples and how many turns failed."""
    node = kubectl("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
    interval = min(SAMPLE_SECONDS_MAX, seconds / (2 * SAMPLES_MIN))
    samples: Samples = []
    tally, failed, started = Tally(), 0, time.monotonic()
    ends_at = started + seconds

    def told(failure: Failure) -> None:
        tell("failed_turn", at_seconds=round(time.monotonic() - started, 1), **dataclasses.asdict(failure))

    async with AsyncAnthropic(api_key=stage.key, base_url=os.environ["ANTHROPIC_BASE_URL"]) as client:
        lives = [live(client, one, period=period, ends_at=ends_at, tally=tally, tell=told) for one in stage.sessions]
        working = asyncio.gather(*lives)
        while (now := time.monotonic()) < ends_at:
            await asyncio.sleep(min(interval, ends_at - now))
            taken, at = tally.take(), round(time.monotonic() - started, 1)
            figures = await asyncio.to_thread(sampled, node) | _turn_figures(taken)
            failed += taken.failed
            samples.append((at, figures))
            tell("sample", at_seconds=at, turns=len(taken.milliseconds), failed=taken.failed, **figures)
        await working
    return samples, failed + tally.failed


def _turn_figures(taken: Tally) -> dict[str, float]:
    return {"turn_ms_median": round(median(taken.milliseconds), 1)} if taken.milliseconds else {}


def _told(samples: Samples, tell: Tell) -> list[str]:
    """Tell the trend of each figure; return the names of those that grow."""
    found = trends(samples)
    for trend in found:
        tell("slope", **dataclasses.asdict(trend), grows=trend.grows)
    return [trend.name for trend in found if trend.grows]


def _new_file() -> Path:
    folder = paths_from().cache / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"soak-{time.strftime('%Y%m%dT%H%M%S')}.jsonl"
