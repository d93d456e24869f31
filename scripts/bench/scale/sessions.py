"""Idle sessions by the thousand: how fast they are made by the public API, and what each one leaves behind."""

import asyncio
import json
import time

from bench.scale.installation import NAMESPACE
from bench.scale.looks import Look, between
from bench.scale.parts import Bench

MAKING_AT_ONCE = 16
STORED_SAMPLE = 200
PROGRESS_SECONDS = 15.0

_SESSIONS = f"/apis/managedagents.dev/v1alpha1/namespaces/{NAMESPACE}/sessions"


async def create(bench: Bench, count: int) -> list[str]:
    """Create idle sessions as fast as it goes; returns their ids. They may not be reconciled yet."""
    made: list[str] = []
    numbers = iter(range(count))

    async def some() -> None:
        for number in numbers:
            session = await bench.api.create(title=f"idle {number}")
            made.append(session)

    async def watched() -> None:
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            bench.tell("progress", sessions=len(made), wanted=count)

    watching = asyncio.create_task(watched())
    try:
        await asyncio.gather(*(some() for _ in range(MAKING_AT_ONCE)))
    finally:
        watching.cancel()
    return made


async def grow(bench: Bench, empty: Look, have: list[str], target: int) -> None:
    """Bring the sessions to a number, and tell what making and keeping them took."""
    before, count = await bench.looks.now(), target - len(have)
    started = time.monotonic()
    have += await create(bench, count)
    created = time.monotonic() - started
    await bench.looks.settled()
    settled = time.monotonic() - started
    after = await bench.looks.now()
    span = between(before, after)
    bench.tell(
        "sessions",
        sessions=len(have),
        created_per_second=round(count / created, 1),
        settled_per_second=round(count / settled, 1),
        memory_mb=after.memory,
        object_bytes=await stored_bytes(bench),
        etcd_bytes_each=round((after.etcd_bytes - empty.etcd_bytes) / len(have)),
        load=after.load,
        **span.each(count),
    )


async def stored_bytes(bench: Bench) -> int:
    """Return the median size of a Session as etcd holds it: custom resources are stored as JSON."""
    items = (await bench.raw.call("GET", f"{_SESSIONS}?limit={STORED_SAMPLE}"))["items"]
    sizes = sorted(len(json.dumps(item, separators=(",", ":"))) for item in items)
    return sizes[len(sizes) // 2] if sizes else 0


async def restart_operator(bench: Bench, sessions: int) -> None:
    """End the operator and start it anew; tell how long until it has looked at every session, and what that took."""
    bench.place.stop("operator")
    before, started = await bench.looks.now(), time.monotonic()
    bench.place.start_operator()
    await asyncio.to_thread(bench.place.wait_operator)
    answers = time.monotonic() - started
    while await bench.looks.reconciles() < sessions:  # noqa: ASYNC110 - another process's counter
        await asyncio.sleep(0.2)
    await bench.looks.settled()
    drained = time.monotonic() - started
    after = await bench.looks.now()
    span = between(before, after)
    bench.tell(
        "operator_start",
        sessions=sessions,
        answers_seconds=round(answers, 1),
        drained_seconds=round(drained, 1),
        reconciles=await bench.looks.reconciles(),
        cpu_seconds=span.cpu,
        writes=span.writes.stored,
        memory_mb=after.memory,
        load=after.load,
    )


async def restart_server(bench: Bench, sessions: int) -> None:
    """End the server and start it anew; tell how long until it takes requests."""
    bench.place.stop("server")
    started = time.monotonic()
    await asyncio.to_thread(bench.place.start_server)
    ready = time.monotonic() - started
    await bench.looks.settled()
    after = await bench.looks.now()
    bench.tell(
        "server_start",
        sessions=sessions,
        ready_seconds=round(ready, 1),
        settled_seconds=round(time.monotonic() - started, 1),
        memory_mb=after.memory,
        load=after.load,
    )
