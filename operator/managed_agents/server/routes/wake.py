"""The harness's connection: it is the lease, carries heartbeats, previews and appends up, events and the end down."""

import asyncio
import contextlib
from typing import Any

import orjson
from aiohttp import WSCloseCode, WSMsgType, web

from managed_agents.contracts.errors import ManagedAgentsError, RejectedError
from managed_agents.server.context import Context, context_of
from managed_agents.server.errors import internal_answer
from managed_agents.server.previews import previewed_id
from managed_agents.server.routes import access, bodies
from managed_agents.server.routes.harness import emitted
from managed_agents.server.services.leases import Lease

FRAME_BYTES_MAX = 1024 * 1024
"""A frame from a harness: a heartbeat, a piece of text or an append; what is larger is appended by a POST."""

APPENDS_MAX = 8
"""Appends of one connection that wait; one that sends more is read no further until the first is stored."""

CLOSE_NOT_REGISTERED = 4403


def add_routes(app: web.Application) -> None:
    """Add the wake call."""
    app.router.add_get("/internal/v1/wake", wake)


async def wake(request: web.Request) -> web.StreamResponse:
    """Hold a Pod's connection: wait for its session, then lease it for as long as the connection lives."""
    pod_uid = await access.harness_pod_uid(request)
    socket = web.WebSocketResponse(max_msg_size=FRAME_BYTES_MAX, compress=False, decode_text=False)
    await socket.prepare(request)
    connection = _Connection(context_of(request), socket)
    await connection.run(pod_uid)
    return socket


class _Connection:
    """One harness's socket. Reading goes on from its start, so that a closed one is noticed while it waits."""

    def __init__(self, context: Context, socket: web.WebSocketResponse) -> None:
        self._context = context
        self._socket = socket
        self._lease: Lease | None = None
        self._appends: asyncio.Queue[tuple[Lease, int, dict[str, Any]]] = asyncio.Queue(APPENDS_MAX)

    async def run(self, pod_uid: str) -> None:
        receiving = asyncio.create_task(self._receive())
        serving = asyncio.create_task(self._serve(pod_uid))
        appending = asyncio.create_task(self._append())
        try:
            await asyncio.wait({receiving, serving, appending}, return_when=asyncio.FIRST_COMPLETED)
            for task in (serving, appending):
                if task.done():
                    with contextlib.suppress(ConnectionError):
                        await task
        finally:
            await _cancel(serving)
            await _cancel(appending)
            if self._lease is not None:
                self._context.leases.end(self._lease, "lost")
            await self._socket.close(code=WSCloseCode.GOING_AWAY)
            await _cancel(receiving)

    async def _serve(self, pod_uid: str) -> None:
        acquiring = asyncio.ensure_future(self._context.leases.acquire(pod_uid))
        acquiring.add_done_callback(self._leased)
        try:
            lease = await acquiring
        finally:
            acquiring.cancel()
        if lease is None and self._context.leases.closed:
            await self._socket.close(code=WSCloseCode.GOING_AWAY)
            return
        if lease is None:
            await self._socket.close(code=CLOSE_NOT_REGISTERED, message=b"this Pod has no session to run")
            return
        async for frame in lease.frames():
            await self._socket.send_frame(frame, WSMsgType.TEXT)
        await self._socket.close()

    def _leased(self, acquiring: "asyncio.Future[Lease | None]") -> None:
        # set by callback: a lease granted in the very step in which the socket closed must still be ended
        if not acquiring.cancelled() and acquiring.exception() is None:
            self._lease = acquiring.result()

    async def _receive(self) -> None:
        async for message in self._socket:
            if message.type is WSMsgType.TEXT:
                await self._frame(message.data)

    async def _frame(self, data: bytes) -> None:
        lease = self._lease
        if lease is None:
            return
        match _parsed(data):
            case {"type": "heartbeat"}:
                self._context.leases.heartbeat(lease)
            case {"type": "preview", "event": dict(event)} if previewed_id(event) is not None:
                self._context.leases.heartbeat(lease)
                if not lease.ended.is_set():
                    self._context.streams.preview(lease.session_id, event)
            case {"type": "append", "call": int(call), "body": body}:
                self._context.leases.heartbeat(lease)
                try:
                    await self._appends.put((lease, call, bodies.storable(body, data)))
                except RejectedError as refused:
                    _refuse(lease, call, refused)
            case _:
                pass  # a newer harness may say more; what we do not know changes nothing

    async def _append(self) -> None:
        """Store appends, one after the other, as the POST of docs/internal-api.md does."""
        while True:
            lease, call, body = await self._appends.get()
            try:
                await access.require_registered(self._context, lease.session_id, lease.pod_uid)
                answer = await emitted(self._context, lease.session_id, body)
            except ManagedAgentsError as error:
                _refuse(lease, call, error)
            else:
                lease.answer(call, 200, answer)


def _refuse(lease: Lease, call: int, error: ManagedAgentsError) -> None:
    refusal = internal_answer(error)
    lease.answer(call, refusal.status, refusal.body)


def _parsed(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None


async def _cancel(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, ConnectionError):
        await task
