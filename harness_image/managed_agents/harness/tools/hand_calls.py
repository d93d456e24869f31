"""Calls to a hand of the proxy's hand listener: what each of them has in common (docs/internal-api.md)."""

import asyncio
from collections.abc import Mapping
from typing import Any

import aiohttp
import orjson

from managed_agents.harness.tools.hand import HandUnreachableError


class HandCalls:
    """Speaks to one hand, whose URL is `url`."""

    def __init__(self, http: aiohttp.ClientSession, url: str, *, cancel_seconds: float) -> None:
        self._http = http
        self._url = url
        self._cancel_seconds = cancel_seconds

    async def send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Send a request and return status and answer. Raises: HandUnreachableError."""
        data = None if body is None else orjson.dumps(body)
        headers = {"Content-Type": "application/json"}
        try:
            async with self._http.request(method, f"{self._url}{path}", data=data, headers=headers) as response:
                return response.status, orjson.loads(await response.read() or b"{}")
        except (aiohttp.ClientError, ConnectionError, ValueError) as error:
            raise HandUnreachableError(message=f"{type(error).__name__}: {error}") from error

    async def cancel(self, call_id: str) -> None:
        """End a call, waiting for its end for a bounded time; what can not be reached is left to die."""
        try:
            async with asyncio.timeout(self._cancel_seconds):
                await self.send("POST", f"/calls/{call_id}/cancel", {})
        except (TimeoutError, HandUnreachableError):
            return

    async def execute(self, body: Mapping[str, Any], *, seconds_max: float) -> tuple[int, dict[str, Any]]:
        """Run a call or join it; one that takes too long is cancelled. Raises: HandUnreachableError."""
        try:
            async with asyncio.timeout(seconds_max):
                return await self.send("POST", "/execute", body)
        except TimeoutError:
            await self.cancel(str(body["tool_use_id"]))
            limit = f"no answer within {seconds_max:g} s; the call was cancelled."
            raise HandUnreachableError(message=limit) from None


def run_seconds_of(answer: Mapping[str, Any]) -> float | None:
    """Return how long a tool ran, where its answer tells."""
    run_ms = answer.get("run_ms")
    return run_ms / 1000 if isinstance(run_ms, int | float) else None
