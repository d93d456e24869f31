"""Harnesses that are simulated: they speak docs/internal-api.md as a harness's proxy does, and think no time at all.

Real is what the server sees of them: a token of a Pod that exists, checked by TokenReview, the connection that is the
lease, and the requests of a turn with one model request. Not there are Pod, proxy and model.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from bench.scale.tally import Tally
from managed_agents.contracts.events import types
from managed_agents.contracts.ids import SessionId, new_event_id, primary_thread_id_for
from managed_agents.contracts.limits import HEARTBEAT_SECONDS

ANSWER = "Done: the file is mended and its tests pass. " * 6
"""About as long as a model's short answer."""
USAGE = {"input_tokens": 900, "output_tokens": 60, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}
END_TURN = {"stop_reason": {"type": "end_turn"}, "stop_details": None}

Event = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Leased:
    """What a lease frame says."""

    session: str
    epoch: int
    agent: str


class Harness:
    """One Pod's side. `run` takes one lease, and ends with it."""

    def __init__(self, http: aiohttp.ClientSession, url: str, token: str, tally: Tally) -> None:
        self._http, self._url, self._tally = http, f"{url}/internal/v1", tally
        self._headers = {"Authorization": f"Bearer {token}"}

    async def run(self, *, stays: bool, connected: "asyncio.Event | None" = None) -> bool:
        """Wait for a session and do its turn; False where there was none.

        A harness that `stays` keeps the lease until it is released, and does every turn until then; another one
        releases the session itself at the end of its turn.
        """
        async with self._http.ws_connect(f"{self._url}/wake", headers=self._headers) as socket:
            if connected is not None:
                connected.set()
            lease = await self._lease(socket)
            if lease is None:
                return False
            beating = asyncio.create_task(_beat(socket))
            try:
                await self._turn(lease)
                if stays:
                    await self._stay(socket, lease)
                else:
                    await self._call("POST", f"/sessions/{lease.session}/release", {"epoch": lease.epoch})
            finally:
                beating.cancel()
                self._tally.free(lease.session)
        return True

    async def _lease(self, socket: aiohttp.ClientWebSocketResponse) -> Leased | None:
        message = await socket.receive()
        if message.type is not aiohttp.WSMsgType.TEXT:
            return None
        frame = orjson.loads(message.data)
        lease = Leased(session=frame["session"]["id"], epoch=frame["epoch"], agent=frame["session"]["agent"]["name"])
        self._tally.leased(lease.session)
        return lease

    async def _stay(self, socket: aiohttp.ClientWebSocketResponse, lease: Leased) -> None:
        async for message in socket:
            if message.type is not aiohttp.WSMsgType.TEXT:
                return
            frame = orjson.loads(message.data)
            if frame["type"] in ("released", "fenced", "deleted"):
                return
            if frame["type"] == "event" and frame["event"]["type"] == types.USER_MESSAGE:
                self._tally.leased(lease.session)
                await self._turn(lease)

    async def _turn(self, lease: Leased) -> None:
        """Do what a harness does in a turn of one model request: a read and three appends."""
        path = f"/sessions/{lease.session}/events"
        log = await self._call("GET", f"{path}?after_position=0&limit=1000")
        inputs = [event["id"] for event in log["events"] if _waits(event)]
        start = _event(types.REQUEST_START, internal={"processed": inputs})
        opening = [_event(types.STATUS_RUNNING), _thread(lease, types.THREAD_RUNNING), start]
        await self._append(path, lease, opening, processed=inputs)
        self._tally.first(lease.session)
        answer = _event(types.AGENT_MESSAGE, content=[{"type": "text", "text": ANSWER}])
        end = {"model_request_start_id": start["id"], "is_error": False, "model_usage": USAGE}
        said = await self._append(path, lease, [answer, _event(types.REQUEST_END, **end)])
        closing = [_thread(lease, types.THREAD_IDLE, **END_TURN), _event(types.STATUS_IDLE, **END_TURN)]
        await self._append(path, lease, closing, expected_head=said["head"])
        self._tally.ended(lease.session)

    async def _append(self, path: str, lease: Leased, events: list[Event], **more: Any) -> dict[str, Any]:
        return await self._call("POST", path, {"epoch": lease.epoch, "events": events, **more})

    async def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        data = None if body is None else orjson.dumps(body)
        headers = {**self._headers, "Content-Type": "application/json"}
        async with self._http.request(method, self._url + path, data=data, headers=headers) as answer:
            text = await answer.read()
            if answer.status >= 400:
                raise RuntimeError(f"{method} {path.rpartition('/')[2]}: {answer.status} {text[:200]!r}")
            found: dict[str, Any] = orjson.loads(text)
            return found


def _event(event_type: str, **fields_: Any) -> Event:
    return {"id": new_event_id(), "type": event_type, **fields_}


def _thread(lease: Leased, event_type: str, **fields_: Any) -> Event:
    thread = primary_thread_id_for(SessionId(lease.session))
    return _event(event_type, session_thread_id=thread, agent_name=lease.agent, **fields_)


def _waits(event: Mapping[str, Any]) -> bool:
    return event["type"] == types.USER_MESSAGE and event["processed_at"] is None


async def _beat(socket: aiohttp.ClientWebSocketResponse) -> None:
    with suppress(ConnectionError):
        while True:
            await socket.send_str('{"type":"heartbeat"}')
            await asyncio.sleep(HEARTBEAT_SECONDS)
