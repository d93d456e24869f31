"""A connection to the public port: what fails before a handler is reached, and whether an answer arrived."""

import asyncio
import fcntl
import secrets
import socket
import struct
import sys
import termios
from collections.abc import Callable

import orjson
from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong

from managed_agents.server.errors import public_body
from managed_agents.server.middleware import json_response, request_id_of

REFUSAL_RETRY_SECONDS = 1

KEEPALIVE_SECONDS = 75.0
"""How long a connection may stay without a request: longer than load balancers wait, which must close first."""


class ApiConnection(web.RequestHandler):
    """Speaks HTTP with one client; refuses, with the API's error, a connection that is one too many."""

    def __init__(self, server: web.Server, *, loop: asyncio.AbstractEventLoop, connections_max: int) -> None:
        super().__init__(server, loop=loop, keepalive_timeout=KEEPALIVE_SECONDS, access_log=None)  # type: ignore[arg-type]  # none, as AppRunner says it
        self._server = server
        self._connections_max = connections_max
        self._undelivered: Callable[[], None] | None = None
        self._socket_transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or refuse it."""
        self._socket_transport = transport
        if len(self._server.connections) < self._connections_max:
            super().connection_made(transport)
            return
        self.force_close()
        if isinstance(transport, asyncio.Transport):
            transport.write(_refusal())
        if isinstance(transport, asyncio.WriteTransport):
            transport.close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """End; a client that went without the last answer is told of."""
        if self._undelivered is not None and (exc is not None or not _is_acknowledged(self._socket_transport)):
            self._undelivered()
        self._undelivered = self._socket_transport = None
        super().connection_lost(exc)

    def on_undelivered(self, hear: Callable[[], None]) -> None:
        """Call `hear` if the client turns out to have gone without the answer that was just written."""
        self._undelivered = hear

    def data_received(self, data: bytes) -> None:
        """Take what the client sends; who asks again has the answer before."""
        self._undelivered = None
        super().data_received(data)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - tells too much of the parser
    ) -> web.StreamResponse:
        """Answer what is no HTTP in the API's form, and close: nobody knows where the next request would begin."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun and cannot become another")
        status = 431 if _is_too_large(exc) else status
        word, text = _WORDS.get(status, _WORDS[500])
        response = json_response(public_body(word, text, request_id_of(request)), status)
        response.headers["request-id"] = request_id_of(request)
        response.force_close()
        return response


_WORDS = {
    400: ("invalid_request_error", "the request is not valid HTTP"),
    431: ("invalid_request_error", "the request line or a header is longer than 8 KiB, or there are too many headers"),
    500: ("api_error", "the server failed to handle this request; its log has the reason"),
}


def _is_too_large(error: BaseException | None) -> bool:
    return isinstance(error, LineTooLong) or (isinstance(error, BadHttpMessage) and "Too many headers" in error.message)


def _refusal() -> bytes:
    request_id = f"req_{secrets.token_hex(12)}"
    message = "the server has as many connections as it may; close some, or try again"
    body = orjson.dumps(public_body("rate_limit_error", message, request_id))
    head = (
        "HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\nConnection: close\r\n"
        f"Retry-After: {REFUSAL_RETRY_SECONDS}\r\nrequest-id: {request_id}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _is_acknowledged(transport: asyncio.BaseTransport | None) -> bool:
    """Tell whether the peer's kernel has taken all that was written; one that closed before answers with a reset."""
    connection = transport.get_extra_info("socket") if transport is not None else None
    if connection is None:
        return True
    try:
        if connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            return False
        left: int = struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, b"\0" * 4))[0]
    except OSError:
        return True
    # On Linux the FIN that we may have queued counts as one byte.
    return left <= 1 if sys.platform == "linux" else True
