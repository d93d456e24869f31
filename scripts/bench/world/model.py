"""The simulated model as a bench uses it: asked directly as a floor, and as a witness of when a request reached it."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

HEADERS = {"x-api-key": "bench", "anthropic-version": "2023-06-01"}
POLL_SECONDS = 20
SEEN_SECONDS = 120.0
"""A session whose request has not come by then is given up."""

Record = dict[str, Any]


class Model:
    """Requests to the simulator at `url`; its monotonic clock is this machine's."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self.url = url
        self._http = http
        self._awaited: dict[str, asyncio.Future[Record]] = {}
        self._number = 0

    async def last(self) -> int:
        """Return the number of the latest request."""
        async with self._http.get(f"{self.url}/_simulator/requests", params={"after": 1 << 60}) as answer:
            return int((await answer.json())["last"])

    async def after(self, number: int, *, wait_seconds: int = 0) -> list[Record]:
        """Return the requests after a number, oldest first."""
        query = {"after": number, "wait_seconds": wait_seconds}
        async with self._http.get(f"{self.url}/_simulator/requests", params=query) as answer:
            recorded: list[Record] = (await answer.json())["data"]
        return recorded

    async def fresh(self) -> list[Record]:
        """Return the requests since this was asked last."""
        found = await self.after(self._number)
        self._number = max([self._number, *(record["n"] for record in found)])
        return found

    async def forget(self) -> None:
        """Let the simulator drop what it recorded, so that looking at it stays cheap."""
        async with self._http.delete(f"{self.url}/_simulator/requests") as answer:
            await answer.read()

    async def ask(self, body: Mapping[str, Any]) -> tuple[float, float]:
        """Ask for a streamed response; return when its first token came, and the model's own milliseconds to it."""
        async with self._http.post(f"{self.url}/v1/messages", json=body, headers=HEADERS) as answer:
            answer.raise_for_status()
            first = 0.0
            async for line in answer.content:
                if not first and b"content_block_delta" in line:
                    first = time.monotonic()
        return first, float((await self.fresh())[-1]["first_token_ms"])

    def expect(self, mark: str) -> "Arrival":
        """Look out for a request whose last message holds the mark; call it before what leads to the request."""
        waiting = self._awaited.setdefault(mark, asyncio.get_running_loop().create_future())
        return Arrival(waiting)

    @asynccontextmanager
    async def witness(self) -> AsyncIterator[None]:
        """Look for marks until the block ends."""
        looking = asyncio.create_task(self._look(await self.last()))
        try:
            yield
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
            for waiting in self._awaited.values():
                waiting.cancel()
            self._awaited.clear()

    async def _look(self, number: int) -> None:
        while True:
            for record in await self.after(number, wait_seconds=POLL_SECONDS):
                number = max(number, record["n"])
                said = json.dumps((record["body"].get("messages") or [""])[-1])
                for mark, waiting in self._awaited.items():
                    if mark in said and not waiting.done():
                        waiting.set_result(record)


class Arrival:
    """A request that is on its way."""

    def __init__(self, waiting: asyncio.Future[Record]) -> None:
        self._waiting = waiting

    async def at(self) -> float:
        """Wait for it and return when the model had it. Raises: TimeoutError."""
        async with asyncio.timeout(SEEN_SECONDS):
            return float((await self._waiting)["received_monotonic"])
