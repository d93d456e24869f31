"""One side of an intercepted connection: HTTP/1.1 by h11 over TLS."""

import asyncio
from collections.abc import AsyncGenerator

import h11

from managed_agents.proxy.egress_request import HEAD_BYTES_MAX
from managed_agents.proxy.injection.tls import TlsStream

HEAD_SECONDS = 30.0
"""From a request's first bytes to the end of its head."""

Event = h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]


class Peer:
    """Events in and out. A read that was not waited for to its end is not lost."""

    def __init__(self, stream: TlsStream, role: type[h11.CLIENT] | type[h11.SERVER]) -> None:
        """`role` is ours: the server of a tool, the client of a destination."""
        self.stream = stream
        self.http = h11.Connection(role, max_incomplete_event_size=2 * HEAD_BYTES_MAX)
        self._reading: asyncio.Task[bytes] | None = None
        self.received = 0

    def reading(self) -> "asyncio.Task[bytes]":
        """Return the read that is under way."""
        if self._reading is None:
            self._reading = asyncio.ensure_future(self.stream.read())
        return self._reading

    async def take(self) -> bytes:
        """Return the bytes of the read that is under way, when they have come; none at the end. Raises: OSError."""
        data = await asyncio.shield(self.reading())
        self._reading = None
        self.received += len(data)
        return data

    async def event(self) -> Event:
        """Return the next event. Raises: OSError; h11.RemoteProtocolError for what is no HTTP."""
        while (event := self.http.next_event()) is h11.NEED_DATA:
            self.http.receive_data(await self.take())
        return event

    async def send(self, event: h11.Event) -> None:
        """Send an event. Raises: OSError; h11.LocalProtocolError where the other side's message does not fit."""
        data = self.http.send(event)
        if data:
            await self.stream.write(data)

    async def body(self) -> AsyncGenerator[bytes, None]:
        """Yield the body of the message whose head has come. Trailers are left out. Raises: as `event`."""
        while isinstance(event := await self.event(), h11.Data):
            yield bytes(event.data)
        if not isinstance(event, h11.EndOfMessage):
            raise ConnectionAbortedError("a message ended early")

    async def stop(self) -> None:
        """Let go of the read that is under way."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)


async def next_request(tool: Peer, destination: Peer | None) -> h11.Request | None:
    """Wait for a tool's next request; null when either side has ended before. Raises: OSError, RemoteProtocolError."""
    deadline: float | None = None
    loop = asyncio.get_running_loop()
    while (event := tool.http.next_event()) is h11.NEED_DATA:
        left = None if deadline is None else deadline - loop.time()
        waited = {tool.reading()} if destination is None else {tool.reading(), destination.reading()}
        done, _ = await asyncio.wait(waited, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if done != {tool.reading()}:
            return None  # too slow; or the destination has ended, or speaks where nobody asked
        tool.http.receive_data(await tool.take())
        deadline = deadline or loop.time() + HEAD_SECONDS
    return event if isinstance(event, h11.Request) else None
