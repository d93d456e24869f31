"""Runs stages one after the other, each within its bound, and keeps what they yield."""

import asyncio
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import asdict
from pathlib import Path

import aiohttp

from bench import results
from bench.stage import Order, Samples, Stage
from bench.world.pinning import pinned
from bench.world.world import World, world
from managed_agents.contracts.errors import ManagedAgentsError

Say = Callable[[str], None]

BROKEN = (AssertionError, OSError, RuntimeError, aiohttp.ClientError, subprocess.SubprocessError, ManagedAgentsError)
"""What may go wrong in a stage without ending those after it; TimeoutError is an OSError."""


async def run(stages: Sequence[Stage], order: Order, say: Say, at: Path | None = None) -> dict[str, str]:
    """Run the stages and keep their samples; return why some failed, by stage."""
    failed: dict[str, str] = {}
    async with AsyncExitStack() as stack:
        cluster: World | None = None
        for stage in stages:
            if stage.needs_warm and not order.warm:
                say(f"{stage.id} {stage.title}: needs --warm, left out")
                continue
            if stage.measure is not None and cluster is None:
                cluster = await stack.enter_async_context(world())
                if order.pin:
                    stack.enter_context(pinned())
            started = time.monotonic()
            say(f"{stage.id} {stage.title}: {stage.path}")
            try:
                count = await _kept(stage, order, cluster, at)
            except BROKEN as problem:
                failed[stage.id] = f"{type(problem).__name__}: {problem}"
                say(f"{stage.id} failed after {time.monotonic() - started:.0f} s: {failed[stage.id]}")
            else:
                say(f"{stage.id} {count} samples in {time.monotonic() - started:.0f} s")
            if cluster is not None and stage.measure is not None:
                await _cleared(cluster, say)
    return failed


async def _cleared(cluster: World, say: Say) -> None:
    try:
        await cluster.cleared(environments=True)
    except BROKEN as problem:
        say(f"what the stage left is still there: {problem}")


async def _kept(stage: Stage, order: Order, cluster: World | None, at: Path | None) -> int:
    count = 0
    with results.begin(stage.id, asdict(order), at) as file:
        bound = None if order.samples else stage.seconds_max
        async with asyncio.timeout(bound), aclosing(samples_of(stage, order, cluster)) as samples:
            async for sample in samples:
                results.keep(file, stage.id, sample)
                count += 1
        results.end(file, stage.id)
    return count


def samples_of(stage: Stage, order: Order, cluster: World | None) -> Samples:
    """Begin a stage. Raises: RuntimeError when it needs a cluster and there is none."""
    if stage.alone is not None:
        return stage.alone(order)
    if stage.measure is None or cluster is None:
        raise RuntimeError(f"{stage.id} needs the cluster")
    return stage.measure(order, cluster)
