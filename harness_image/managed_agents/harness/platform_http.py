"""The platform over HTTP: the harness calls of docs/internal-api.md, through the proxy's session listener."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

import aiohttp
import orjson

from managed_agents.contracts import limits
from managed_agents.contracts.errors import ConflictError, FencedError, HeadMismatchError, NotFoundError, RejectedError
from managed_agents.harness.history.files import Content
from managed_agents.harness.platform import ConfigChanged, EventArrived, Lease, LeaseEnded, News, Receipt, Slice, Timing
from managed_agents.harness.settings import Settings

_PATH = "/internal/v1"
_FRAME_BYTES_MAX = 64 * 1024 * 1024
"""One frame holds one event; a message body has at most 32 MiB (contracts/limits.py)."""

_BODY_BYTES_MAX = 2 * limits.EVENT_BODY_BYTES_MAX
"""The server takes no more in one append; told here, because a connection that is cut tells nothing."""

_SOCKET_BYTES_MAX = 512 * 1024
"""Appends up to here go over the lease's own connection, for a third of what a request costs (measured); a larger one
would hold up the heartbeats behind it, and exceed what the server takes in a frame."""

_FILE_BYTES_MAX = limits.EVENT_BODY_BYTES_MAX
_FILE_PROBLEMS = {403: "this session may not read it.", 404: "it does not exist, or not any more."}

_TEXT = aiohttp.WSMsgType.TEXT
_RETRY_SECONDS = 0.1
_ATTEMPTS_MAX = 50
"""Repeats of a call to a server that does not answer; the lease is lost long before they end (5 s)."""


class HttpLease:
    """A lease over a WebSocket. The connection is the lease: when it ends, so does everything done under it."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse[bool], frame: Mapping[str, Any]) -> None:
        self._socket = socket
        self._takes_appends = frame.get("appends") is True
        self._calls = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[tuple[int, dict[str, Any]]]] = {}
        self.config: Mapping[str, Any] = frame["session"]
        self.epoch: int = frame["epoch"]
        self.head: int = frame["head"]

    async def __aiter__(self) -> AsyncIterator[News]:
        """Yield news until the connection ends; unknown frames are skipped. Answers to appends come in here, too."""
        try:
            async for message in self._socket:
                if message.type is not aiohttp.WSMsgType.TEXT:
                    return
                frame = orjson.loads(message.data)
                match frame["type"]:
                    case "answer":
                        self._answered(frame)
                    case "event":
                        yield EventArrived(event=frame["event"])
                    case "session":
                        yield ConfigChanged(config=frame["session"])
                    case "released" | "fenced" | "deleted" as why:
                        yield LeaseEnded(why=why)
        finally:
            self._takes_appends = False
            for waiting in self._waiting.values():
                waiting.cancel()

    async def append(self, session: str, epoch: int, body: bytes, seconds: float) -> tuple[int, dict[str, Any]] | None:
        """Append over this connection and return status and answer as of the POST; None: not possible, or unknown."""
        of_lease = session == self.config["id"] and epoch == self.epoch
        if not of_lease or not self._takes_appends or len(body) > _SOCKET_BYTES_MAX:
            return None
        call = next(self._calls)
        waiting = self._waiting[call] = asyncio.get_running_loop().create_future()
        try:
            await self._socket.send_frame(b'{"type":"append","call":%d,"body":%b}' % (call, body), _TEXT)
            done, _ = await asyncio.wait((waiting,), timeout=seconds)
            return None if not done or waiting.cancelled() else waiting.result()
        except ConnectionError:
            return None
        finally:
            del self._waiting[call]

    def _answered(self, frame: Mapping[str, Any]) -> None:
        waiting = self._waiting.get(frame["call"])
        if waiting is not None and not waiting.done():
            waiting.set_result((frame["status"], frame["body"]))

    async def preview(self, event: Mapping[str, Any]) -> None:
        """Send a preview; on a closed connection it is dropped."""
        with suppress(ConnectionError):
            await self._socket.send_str(orjson.dumps({"type": "preview", "event": event}).decode())

    async def beat(self) -> None:
        """Say each second that this harness lives, until cancelled."""
        with suppress(ConnectionError):
            while True:
                await self._socket.send_str('{"type":"heartbeat"}')
                await asyncio.sleep(limits.HEARTBEAT_SECONDS)


class HttpPlatform:
    """The five calls over HTTP. Appends are repeated on connection errors: their ids make a repeat harmless."""

    def __init__(self, http: aiohttp.ClientSession, settings: Settings) -> None:
        self._http = http
        self._url = settings.session_url + _PATH
        self._seconds = settings.call_seconds
        self._timeout = aiohttp.ClientTimeout(total=settings.call_seconds)
        self._lease: HttpLease | None = None

    def wake(self) -> AbstractAsyncContextManager[Lease]:
        """Wait for a session and hold it. Raises: ConnectionError when the server is away or has no session for us."""
        return self._wake()

    @asynccontextmanager
    async def _wake(self) -> AsyncIterator[Lease]:
        try:
            url = f"{self._url}/wake"
            socket = await self._http.ws_connect(url, max_msg_size=_FRAME_BYTES_MAX, decode_text=False)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ConnectionError(f"wake: {error}") from error
        async with socket:
            lease = HttpLease(socket, await _lease_frame(socket))
            heartbeat = asyncio.create_task(lease.beat())
            self._lease = lease
            try:
                yield lease
            finally:
                self._lease = None
                heartbeat.cancel()
                await asyncio.gather(heartbeat, return_exceptions=True)

    async def get_session(self, session: str) -> Mapping[str, Any]:
        """Return `{config, head, epoch, status}`."""
        return await self._call("GET", f"/sessions/{session}")

    async def emit_event(
        self,
        session: str,
        epoch: int,
        events: Sequence[Mapping[str, Any]],
        *,
        processed: Sequence[str] = (),
        expected_head: int | None = None,
        timing: Timing = (),
    ) -> Receipt:
        """Append under the epoch: over the lease's connection, else, and after any doubt about that, by a request."""
        body: dict[str, Any] = {"epoch": epoch, "events": list(events), "processed": list(processed)}
        if expected_head is not None:
            body["expected_head"] = expected_head
        if timing:
            body["timing"] = list(timing)
        data = orjson.dumps(body)
        lease = self._lease
        told = None if lease is None else await lease.append(session, epoch, data, self._seconds)
        if told is not None and told[0] < 500:
            answer = _checked(*told)
        else:
            answer = await self._call("POST", f"/sessions/{session}/events", data)
        return Receipt(head=answer["head"], stamps=answer["events"])

    async def get_events(self, session: str, *, after: int, limit: int) -> Slice:
        """Read a slice."""
        answer = await self._call("GET", f"/sessions/{session}/events?after_position={after}&limit={limit}")
        return Slice(events=answer["events"], head=answer["head"])

    async def get_file(self, session: str, file_id: str) -> Content:
        """Read a file of the session's; one that is not there, or may not be read, has a problem instead."""
        for attempt in range(1, _ATTEMPTS_MAX + 1):
            try:
                status, content = await self._file(f"{self._url}/sessions/{session}/files/{file_id}/content")
            except (aiohttp.ClientError, TimeoutError) as error:
                if attempt == _ATTEMPTS_MAX:
                    raise ConnectionError(f"file {file_id}: {error}") from error
            else:
                if status < 500:
                    return content
            await asyncio.sleep(_RETRY_SECONDS)
        raise ConnectionError(f"file {file_id}: the server answered with errors only")

    async def _file(self, url: str) -> tuple[int, Content]:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5.0, sock_read=30.0)
        async with self._http.get(url, timeout=timeout) as response:
            if response.status >= 300:
                return response.status, Content(problem=_FILE_PROBLEMS.get(response.status, "it cannot be read."))
            if (response.content_length or 0) > _FILE_BYTES_MAX:
                return response.status, Content(problem="it is larger than a model request may be (32 MiB).")
            named = response.content_disposition
            return response.status, Content(
                media_type=response.headers.get("Content-Type", "application/octet-stream"),
                filename=(named.filename if named is not None else None) or "",
                data=await response.read(),
            )

    async def release(self, session: str, epoch: int) -> None:
        """Give the session back."""
        await self._call("POST", f"/sessions/{session}/release", orjson.dumps({"epoch": epoch}))

    async def _call(self, method: str, path: str, data: bytes | None = None) -> dict[str, Any]:
        if data is not None and len(data) > _BODY_BYTES_MAX:
            raise RejectedError(f"{method} {path}: {len(data)} bytes exceed the limit of {_BODY_BYTES_MAX}")
        for attempt in range(1, _ATTEMPTS_MAX + 1):
            try:
                status, answer = await self._once(method, path, data)
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                if attempt == _ATTEMPTS_MAX:
                    raise ConnectionError(f"{method} {path}: {error}") from error
            else:
                if status < 500:
                    return _checked(status, answer)
            await asyncio.sleep(_RETRY_SECONDS)
        raise ConnectionError(f"{method} {path}: the server answered with errors only")

    async def _once(self, method: str, path: str, data: bytes | None) -> tuple[int, dict[str, Any]]:
        headers = {"Content-Type": "application/json"}
        request = self._http.request(method, self._url + path, data=data, headers=headers, timeout=self._timeout)
        async with request as response:
            return response.status, orjson.loads(await response.read() or b"{}")


async def _lease_frame(socket: aiohttp.ClientWebSocketResponse[bool]) -> Mapping[str, Any]:
    message = await socket.receive()
    if message.type is not aiohttp.WSMsgType.TEXT:
        raise ConnectionError(f"wake: closed with code {socket.close_code} before a session came")
    frame: Mapping[str, Any] = orjson.loads(message.data)
    if frame["type"] != "lease":
        raise ConnectionError(f"wake: found a frame of type {frame['type']!r}, the first must be a lease")
    return frame


def _checked(status: int, answer: dict[str, Any]) -> dict[str, Any]:
    if status < 300:
        return answer
    error = answer.get("error") or {}
    message = error.get("message", f"HTTP status {status}")
    match status, error.get("type"):
        case 404, _:
            raise NotFoundError(message)
        case 409, "fenced":
            raise FencedError(message)
        case 409, _:
            raise ConflictError(message)
        case 412, _:
            raise HeadMismatchError(message, head=error["head"])
        case 401 | 403, _:
            raise ConnectionError(message)
        case _:
            raise RejectedError(message, reason=str(error.get("type")))
