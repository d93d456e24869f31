"""TLS over streams that are open already, on either side of a request (design §8).

The standard library's way to begin TLS on an open stream loses what the stream has read ahead, and takes what a peer
sent before the handshake for what came in it. Here each byte goes through TLS.
"""

import asyncio
import ssl
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from managed_agents.proxy.egress_streams import CHUNK_BYTES, closed

HANDSHAKE_SECONDS = 10.0

Result = TypeVar("Result")


class TlsStream:
    """One connection. Reads and writes may overlap, two reads may not."""

    def __init__(
        self,
        streams: tuple[StreamReader, StreamWriter],
        context: ssl.SSLContext,
        *,
        server_hostname: str | None = None,
        received: bytes = b"",
    ) -> None:
        """With `server_hostname` the client's side, which checks the peer's certificate for it, else the server's.

        `received` is what was read from the stream already.
        """
        self._reader, self._writer = streams
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._incoming.write(received)
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_hostname is None, server_hostname=server_hostname
        )

    async def handshake(self) -> None:
        """Begin. Raises: ssl.SSLError, among them SSLCertVerificationError; OSError, among them TimeoutError."""
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                await self._until_done(self._tls.do_handshake)
        finally:
            with suppress(OSError):  # an alert tells the peer what is wrong
                await self._flush()

    async def read(self) -> bytes:
        """Return some bytes, none at the end. Raises: OSError."""
        try:
            return await self._until_done(lambda: self._tls.read(CHUNK_BYTES))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):  # many end without saying so; a body's length tells
            return b""

    async def write(self, data: bytes) -> None:
        """Send bytes, as fast as the peer takes them. Raises: OSError."""
        view = memoryview(data)
        while view:
            view = view[self._tls.write(view) :]
            await self._flush()

    async def close(self) -> None:
        """Say the end and close."""
        with suppress(OSError):
            self._tls.unwrap()
        with suppress(OSError):
            self._writer.write(self._outgoing.read())
        await closed(self._writer)

    async def linger(self, seconds: float) -> None:
        """Say the end, and let the peer finish: bytes that nobody reads would reset what it still has to read."""
        with suppress(OSError):
            self._tls.unwrap()
        with suppress(OSError):  # TimeoutError among them
            async with asyncio.timeout(seconds):
                await self._flush()
                while await self._reader.read(CHUNK_BYTES):
                    continue

    async def _flush(self) -> None:
        if self._outgoing.pending:
            self._writer.write(self._outgoing.read())
            await self._writer.drain()

    async def _until_done(self, work: Callable[[], Result]) -> Result:
        while True:
            try:
                return work()
            except ssl.SSLWantReadError:
                await self._flush()
                data = await self._reader.read(CHUNK_BYTES)
                if data:
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
