"""One look at everything: memory and CPU of each program, writes at the kube-apiserver, what etcd holds, the queue."""

import os
import time
from dataclasses import dataclass

import aiohttp

from bench.pacing import until
from bench.scale.figures import Writes, each, total_of, writes_between, writes_of
from bench.scale.process import Used
from bench.scale.raw import Raw
from bench.scale.world import World

SETTLED_LOOKS = 4
LOOK_SECONDS = 0.25
SETTLED_SECONDS = 1800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Figures of one moment."""

    at: float
    used: dict[str, Used]
    writes: dict[str, float]
    etcd_bytes: float
    load: float
    """Processes that wanted to run within the last minute, ours among them: how quiet the machine was."""

    @property
    def memory(self) -> dict[str, float]:
        """Return MB of resident memory by program."""
        return {name: round(used.rss_bytes / 1e6, 1) for name, used in self.used.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """What happened between two looks."""

    seconds: float
    cpu: dict[str, float]
    writes: Writes
    load: float

    def each(self, count: float) -> dict[str, object]:
        """Return CPU milliseconds and writes for each of so many."""
        return {
            "cpu_ms": {name: each(seconds * 1000, count) for name, seconds in self.cpu.items()},
            "writes": each(self.writes.stored, count),
            "reviews": each(self.writes.reviews, count),
            "events": each(self.writes.events, count),
            "writes_by_resource": {name: each(n, count) for name, n in self.writes.by_resource.items()},
        }


def between(before: Look, after: Look) -> Span:
    """Return what happened between two looks; a program that was started anew counts from its start."""
    cpu = {}
    for name, used in after.used.items():
        earlier = before.used.get(name)
        spent = used.cpu_seconds - (earlier.cpu_seconds if earlier else 0.0)
        cpu[name] = round(spent if spent >= 0 else used.cpu_seconds, 2)
    writes = writes_between(before.writes, after.writes)
    return Span(seconds=after.at - before.at, cpu=cpu, writes=writes, load=after.load)


class Looks:
    """Looks at a world."""

    def __init__(self, http: aiohttp.ClientSession, raw: Raw, place: World) -> None:
        self._http, self._raw, self._place = http, raw, place

    async def now(self) -> Look:
        """Look once."""
        writes = writes_of(await self._raw.text("/metrics"))
        held = total_of(await self._text(f"{self._place.etcd_url}/metrics"), "etcd_mvcc_db_total_size_in_use_in_bytes")
        return Look(
            at=time.monotonic(), used=self._place.used(), writes=writes, etcd_bytes=held, load=os.getloadavg()[0]
        )

    async def settled(self, seconds: float = SETTLED_SECONDS) -> None:
        """Wait until the operator's queue has been empty for a second. Raises: TimeoutError."""
        looks = [1.0]

        async def is_empty() -> bool:
            looks.append(total_of(await self._text(f"{self._place.operator_url}/metrics"), "operator_queue_keys"))
            return len(looks) > SETTLED_LOOKS and not any(looks[-SETTLED_LOOKS:])

        await until(is_empty, seconds=seconds, every=LOOK_SECONDS)

    async def reconciles(self) -> float:
        """Return how many reconciles the operator has ended."""
        return total_of(await self._text(f"{self._place.operator_url}/metrics"), "operator_reconciles_total")

    async def _text(self, url: str) -> str:
        async with self._http.get(url) as answer:
            return await answer.text()
