"""Readers of event streams, for tests: frames as they come, checked for their form."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson

from support.server import USER_TOKEN, WAIT_SECONDS, TestServer, agent_event, message


class Reader:
    """Reads frames of one stream."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.last_id: str | None = None

    async def raw(self) -> list[str] | None:
        """Return the lines of the next frame, null at the end."""
        lines: list[str] = []
        async with asyncio.timeout(WAIT_SECONDS):
            async for line in self.response.content:
                text = line.decode().rstrip("\n")
                if not text:
                    return lines
                lines.append(text)
        return None

    async def next(self) -> dict[str, Any] | None:
        """Return the next event, comments left out; its frame's name is checked."""
        while (lines := await self.raw()) is not None:
            fields = dict(line.split(": ", 1) for line in lines if not line.startswith(":"))
            if "data" in fields:
                event: dict[str, Any] = orjson.loads(fields["data"])
                assert fields["event"] == event["type"]
                self.last_id = fields.get("id", self.last_id)
                return event
        return None

    async def caught_up(self) -> None:
        """Wait until a resumed stream is live: its heartbeats begin then. It must have nothing to catch up with."""
        lines = await self.raw()
        assert lines
        assert lines[0].startswith(":")

    async def take(self, count: int) -> list[dict[str, Any]]:
        events = [await self.next() for _ in range(count)]
        return [event for event in events if event is not None]

    async def rest(self) -> list[dict[str, Any]]:
        events = []
        while (event := await self.next()) is not None:
            events.append(event)
        return events


@contextlib.asynccontextmanager
async def reading(
    server: TestServer, session: str, query: str = "", *, path: str = "events/stream", **headers: str
) -> AsyncIterator[Reader]:
    """Open a stream; it is registered once the block begins."""
    url = f"{server.public_url}/v1/sessions/{session}/{path}{query}"
    headers = {"Authorization": f"Bearer {USER_TOKEN}", **headers}
    async with server.http.get(url, headers=headers) as response:
        assert response.status == 200, await response.text()
        assert response.headers["Content-Type"] == "text/event-stream"
        assert response.headers["request-id"].startswith("req_")
        yield Reader(response)


async def send(server: TestServer, session: str, *texts: str) -> list[dict[str, Any]]:
    body = {"events": [message(text) for text in texts]}
    status, answer = await server.user("POST", f"/sessions/{session}/events", body)
    assert status == 200
    data: list[dict[str, Any]] = answer["data"]
    return data


async def listed(server: TestServer, session: str, path: str = "events", **query: Any) -> list[dict[str, Any]]:
    """Return the events of one page."""
    status, answer = await server.user("GET", f"/sessions/{session}/{path}", params=query)
    assert status == 200, answer
    data: list[dict[str, Any]] = answer["data"]
    return data


@contextlib.asynccontextmanager
async def harness(server: TestServer, session: str, pod: str = "pod-1") -> AsyncIterator["Harness"]:
    """Play the session's harness: hold its lease, emit events and previews."""
    await server.register(session, pod)
    async with server.wake(pod) as socket:
        yield Harness(server, session, pod, socket, (await server.leased(socket))["epoch"])


class Harness:
    """A leased harness, as the server sees one."""

    def __init__(
        self, server: TestServer, session: str, pod: str, socket: aiohttp.ClientWebSocketResponse, epoch: int
    ) -> None:
        self._server, self._session, self._pod = server, session, pod
        self._socket, self._epoch = socket, epoch

    async def emit(self, *events: dict[str, Any], processed: list[str] | None = None) -> None:
        body = {"epoch": self._epoch, "events": list(events), "processed": processed or []}
        status, answer = await self._server.harness(self._pod, "POST", f"/sessions/{self._session}/events", body)
        assert status == 200, answer

    async def preview(self, *events: dict[str, Any]) -> None:
        for event in events:
            await self._socket.send_json({"type": "preview", "event": event})


def start_of(event: dict[str, Any]) -> dict[str, Any]:
    """The preview that opens an event."""
    return {"type": "event_start", "event": {"type": event["type"], "id": event["id"]}}


def delta_of(event: dict[str, Any], text: str, index: int = 0) -> dict[str, Any]:
    """A piece of an event's text."""
    content = {"type": "content_delta", "index": index, "content": {"type": "text", "text": text}}
    return {"type": "event_delta", "event_id": event["id"], "delta": content}


def said(text: str) -> dict[str, Any]:
    """An agent's message."""
    return agent_event("agent.message", content=[{"type": "text", "text": text}])
