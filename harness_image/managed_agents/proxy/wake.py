"""Relays the harness' wake socket to the server, both ways, and knows whether one is open."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress

import orjson
from aiohttp import (
    ClientError,
    ClientSession,
    ClientWebSocketResponse,
    ClientWSTimeout,
    WSCloseCode,
    WSMsgType,
    WSServerHandshakeError,
    web,
)
from yarl import URL

from managed_agents.proxy.appends import Appends, Turns
from managed_agents.proxy.errors import RefusedError
from managed_agents.proxy.forward import reason_of
from managed_agents.proxy.settings import BODY_BYTES_MAX, CONNECT_SECONDS, WAKE_HEARTBEAT_SECONDS

CLOSE_SECONDS = 1.0
"""How long either side may take to answer a close frame."""

_KINDS = {401: "unauthenticated", 403: "not_registered", 404: "not_found"}

_WITH_CONFIG = (b'{"type":"lease"', b'{"type":"session"')
"""How the server's frames with a config begin (docs/internal-api.md, "Wake")."""

_PROBE = b'{"type":"probe"'
"""How a frame begins that is for the proxy itself; the harness never sees it."""

_LAST = (b'{"type":"released"', b'{"type":"fenced"')
"""How its last frames begin, where they may name a sandbox to look into once more."""

Configured = Callable[[Mapping[str, object], int | None], None]
"""Told a config, with the epoch of the lease that it came with."""
Ended = Callable[[str], None]
"""Told the name of a sandbox that the session has lost with its harness."""
Probed = Callable[[str, str, str], None]
"""Told the word of a probe that the server asks for, the id of the credential, and which version of it is meant."""
Socket = web.WebSocketResponse[bool] | ClientWebSocketResponse[bool]


class WakeRelay:
    """The open wake sockets of this Pod: at most one in earnest, two while a new worker replaces an old one."""

    def __init__(
        self,
        client: ClientSession,
        configured: Configured,
        ended: Ended = lambda _: None,
        *,
        turns: Turns | None = None,
        probed: Probed = lambda _probe, _credential, _version: None,
    ) -> None:
        """`configured` is told each config that passes to the harness, `ended` what a last frame says of a sandbox.

        `turns` is told of the ends and beginnings of turns that pass to the server and are stored.
        """
        self._client = client
        self._turns = turns
        self._configured = configured
        self._ended = ended
        self._probed = probed
        self._open: set[web.WebSocketResponse[bool]] = set()
        self._left = asyncio.Event()
        self._left.set()

    @property
    def is_open(self) -> bool:
        """Tell whether a wake socket leads through to the server: the proxy's readiness."""
        return bool(self._open)

    async def relay(self, request: web.Request, url: URL, headers: Mapping[str, str]) -> web.WebSocketResponse[bool]:
        """Open the server's side first, so that its refusal is an HTTP answer, then pass frames until one side ends."""
        if not web.WebSocketResponse().can_prepare(request):
            raise RefusedError(400, "invalid_request", "/internal/v1/wake is a WebSocket; send an upgrade")
        upstream = await self._dial(url, headers)
        downstream = web.WebSocketResponse(
            timeout=CLOSE_SECONDS, max_msg_size=BODY_BYTES_MAX, compress=False, decode_text=False
        )
        async with upstream:
            await downstream.prepare(request)
            self._open.add(downstream)
            self._left.clear()
            try:
                appends = Appends(self._turns)

                def heard(frame: bytes) -> bool:
                    appends.answered(frame)
                    return self._heard(frame)

                def said(frame: bytes) -> bool:
                    appends.asked(frame)
                    return True

                await _pass_frames(downstream, upstream, heard=heard, said=said)
            finally:
                self._open.discard(downstream)
                if not self._open:
                    self._left.set()
        return downstream

    async def left(self, *, seconds: float) -> None:
        """Wait until no harness is connected, at most so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._left.wait()

    async def close(self) -> None:
        """End every relay, because the process stops."""
        closing = [socket.close(code=WSCloseCode.GOING_AWAY) for socket in self._open]
        await asyncio.gather(*closing, return_exceptions=True)

    def _heard(self, frame: bytes) -> bool:
        """Look into the frames that carry a config, end a lease or are for the proxy; tell whether one passes on.

        Into no other: this is the message path.
        """
        if frame.startswith(_WITH_CONFIG):
            with suppress(orjson.JSONDecodeError):  # not ours to judge: the harness gets it as it is
                document = orjson.loads(frame)
                config, epoch = document.get("session"), document.get("epoch")
                if isinstance(config, dict):
                    self._configured(config, epoch if isinstance(epoch, int) else None)
        elif frame.startswith(_LAST):
            with suppress(orjson.JSONDecodeError):
                sandbox = orjson.loads(frame).get("sandbox")
                if isinstance(sandbox, str):
                    self._ended(sandbox)
        elif frame.startswith(_PROBE):
            with suppress(orjson.JSONDecodeError):
                document = orjson.loads(frame)
                version = str(document.get("version") or "")
                self._probed(str(document.get("probe")), str(document.get("credential_id")), version)
            return False
        return True

    async def _dial(self, url: URL, headers: Mapping[str, str]) -> ClientWebSocketResponse[bool]:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                return await self._client.ws_connect(
                    url,
                    headers=headers,
                    max_msg_size=BODY_BYTES_MAX,
                    decode_text=False,
                    heartbeat=WAKE_HEARTBEAT_SECONDS,
                    timeout=ClientWSTimeout(ws_close=CLOSE_SECONDS),
                )
        except WSServerHandshakeError as problem:
            status = problem.status if problem.status in _KINDS else 503
            kind = _KINDS.get(status, "unavailable")
            raise RefusedError(
                status, kind, f"the server refused the wake socket with status {problem.status}"
            ) from None
        except (ClientError, TimeoutError, OSError) as problem:
            raise RefusedError(503, "unavailable", f"the server is unreachable: {reason_of(problem)}") from None


async def _pass_frames(
    downstream: web.WebSocketResponse[bool],
    upstream: ClientWebSocketResponse[bool],
    *,
    heard: Callable[[bytes], bool],
    said: Callable[[bytes], bool],
) -> None:
    """Copy both ways until one side ends, then end the other with the same code."""
    down = asyncio.create_task(_copy(upstream, downstream, heard))
    up = asyncio.create_task(_copy(downstream, upstream, said))
    try:
        await asyncio.wait({down, up}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        down.cancel()
        up.cancel()
        await asyncio.gather(down, up, return_exceptions=True)
    if upstream.closed:
        await downstream.close(code=passable(upstream.close_code))
    else:
        await upstream.close(code=passable(downstream.close_code))


async def _copy(source: Socket, target: Socket, heard: Callable[[bytes], bool]) -> None:
    """Pass binary frames on, and text that `heard` lets pass; a slow target holds the source back.

    Ends when either is closed.
    """
    async for message in source:
        try:
            if message.type is WSMsgType.TEXT:
                if heard(message.data):
                    await target.send_frame(message.data, WSMsgType.TEXT)
            elif message.type is WSMsgType.BINARY:
                await target.send_bytes(message.data)
        except ConnectionError:
            return


def passable(code: int | None) -> int:
    """Return a close code that may be sent in a frame: the received one, else `service restart` (RFC 6455 §7.4)."""
    if code is not None and (3000 <= code < 5000 or code in {1000, 1001, 1002, 1003, *range(1007, 1015)}):
        return code
    return WSCloseCode.SERVICE_RESTART
