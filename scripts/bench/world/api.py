"""The public API as a bench calls it: few calls, little work of our own in them."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from bench.pacing import until

STREAM_SECONDS = 120.0
"""A stream that says nothing for so long, not even a comment, is broken."""
TURN_SECONDS_MAX = 180.0

Event = dict[str, Any]


def said(text: str) -> Event:
    """Return a user's message."""
    return {"type": "user.message", "content": [{"type": "text", "text": text}]}


class Stream:
    """An open event stream with previews of the agent's messages."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def events(self) -> AsyncIterator[tuple[float, Event]]:
        """Yield events with the moment at which each came."""
        async for line in self._response.content:
            if line.startswith(b"data: "):
                yield time.monotonic(), json.loads(line[6:])

    async def turn(self) -> float | None:
        """Read to the next idle event; return when the first token came, or None where there was none."""
        first = None
        async with asyncio.timeout(TURN_SECONDS_MAX):
            async for at, event in self.events():
                if first is None and event["type"] == "event_delta":
                    first = at
                if event["type"] == "session.status_idle":
                    return first
        raise RuntimeError("the stream ended within a turn")


class Api:
    """Calls of one developer. Raises: aiohttp.ClientResponseError for every refusal."""

    def __init__(self, http: aiohttp.ClientSession, base: str, *, agent: str, environment: str) -> None:
        self._http, self._base = http, base
        self._agent, self._environment = agent, environment

    async def create(
        self,
        *texts: str,
        environment: str | None = None,
        title: str = "bench",
        resources: Sequence[Mapping[str, Any]] = (),
    ) -> str:
        """Create a session with these messages and return its id."""
        body = {
            "agent": self._agent,
            "environment_id": environment or self._environment,
            "title": title,
            "initial_events": [said(text) for text in texts],
            "resources": list(resources),
        }
        return str((await self._call("POST", "/v1/sessions", body))["id"])

    async def send(self, session: str, *texts: str) -> None:
        """Send messages in one request."""
        await self._call("POST", f"/v1/sessions/{session}/events", {"events": [said(text) for text in texts]})

    async def delete(self, session: str) -> None:
        """Delete a session that is idle."""
        await self._call("DELETE", f"/v1/sessions/{session}")

    async def health(self) -> None:
        """Ask for nothing: a round trip to the server."""
        await self._call("GET", "/healthz")

    async def events(self, session: str) -> list[Event]:
        """Return all events of a session, in order."""
        found: list[Event] = []
        page: str | None = None
        while True:
            query = f"?limit=1000&page={page}" if page else "?limit=1000"
            answer = await self._call("GET", f"/v1/sessions/{session}/events{query}")
            found += answer["data"]
            page = answer.get("next_page")
            if not page:
                return found

    async def timings(self, session: str) -> Sequence[Event]:
        """Return the records of the last turns, newest first."""
        turns: Sequence[Event] = (await self._call("GET", f"/v1/sessions/{session}/timings"))["data"]
        return turns

    async def status(self, session: str) -> str:
        """Return `idle`, `running` and so on."""
        return str((await self._call("GET", f"/v1/sessions/{session}"))["status"])

    async def idle(self, session: str, *, seconds: float = TURN_SECONDS_MAX) -> None:
        """Wait until a session is idle. Raises: TimeoutError."""

        async def is_idle() -> bool:
            return await self.status(session) == "idle"

        await until(is_idle, seconds=seconds, every=0.1)

    @asynccontextmanager
    async def stream(self, session: str) -> AsyncIterator[Stream]:
        """Open a stream; it is registered once the block begins."""
        timeout = aiohttp.ClientTimeout(total=None, sock_read=STREAM_SECONDS)
        url = f"{self._base}/v1/sessions/{session}/events/stream"
        query = {"event_deltas[]": "agent.message"}
        async with self._http.get(url, params=query, timeout=timeout) as response:
            response.raise_for_status()
            yield Stream(response)

    async def _call(self, method: str, path: str, body: Any = None) -> Any:
        async with self._http.request(method, self._base + path, json=body) as answer:
            if answer.status >= 400:
                raise RuntimeError(f"{method} {path}: {answer.status} {(await answer.text())[:300]}")
            return await answer.json() if answer.content_type == "application/json" else await answer.read()
