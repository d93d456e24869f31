"""The simulated model server in this process, with a clock the test moves, and the official SDK as its client."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import anthropic
from aiohttp import ClientSession

from managed_agents.simulator.service import Simulator


@dataclass
class ManualClock:
    """Time that stands still: a sleep is noted, moves the clock and returns, unless the test holds it."""

    now: float = 1000.0
    slept: list[float] = field(default_factory=list)
    held: asyncio.Event | None = None
    sleeping: asyncio.Event = field(default_factory=asyncio.Event)

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> datetime:
        return datetime.fromtimestamp(self.now, UTC)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.sleeping.set()
        if self.held is not None:
            await self.held.wait()
        self.now += seconds


@dataclass
class Served:
    """A running simulator: its address, its state and its clock."""

    url: str
    simulator: Simulator
    clock: ManualClock
    http: ClientSession

    def client(self, **options: Any) -> anthropic.AsyncAnthropic:
        return anthropic.AsyncAnthropic(**{"api_key": "key", "base_url": self.url, "max_retries": 0, **options})

    async def get(self, path: str) -> Any:
        async with self.http.get(f"{self.url}{path}") as response:
            return await response.json()

    async def send(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        async with self.http.request(method, f"{self.url}{path}", json=body) as response:
            return response.status, await response.json()


def scripted(script: str, text: str = "Go.") -> list[dict[str, Any]]:
    """The messages of a conversation that begins with that script."""
    return [{"role": "user", "content": f"{text}\n```script\n{script}\n```"}]
