"""An HTTP client that leaves no TLS connection behind: closing one takes an answer of the peer."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp

CLOSED_SECONDS_MAX = 5.0
POLL_SECONDS = 0.01


@contextlib.asynccontextmanager
async def tls_client() -> AsyncIterator[aiohttp.ClientSession]:
    """Yield a client; at the end, wait until each of its sockets is closed."""
    made: list[socket.socket] = []

    def remember(address: Any) -> socket.socket:
        family, kind, protocol, *_ = address
        made.append(socket.socket(family, kind, protocol))
        return made[-1]

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(socket_factory=remember)) as http:
        yield http
    async with asyncio.timeout(CLOSED_SECONDS_MAX):
        while any(one.fileno() != -1 for one in made):  # noqa: ASYNC110 - a socket tells nobody that it was closed
            await asyncio.sleep(POLL_SECONDS)
