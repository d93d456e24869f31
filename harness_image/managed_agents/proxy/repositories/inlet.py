"""A way into an application of this process that has no port: only who holds the object can connect."""

import asyncio
import socket
from asyncio import StreamReader, StreamWriter

from aiohttp import web

from managed_agents.proxy.egress_streams import CHUNK_BYTES
from managed_agents.proxy.settings import SHUTDOWN_SECONDS


class Inlet:
    """Serves an application over pairs of connected sockets."""

    def __init__(self, app: web.Application) -> None:
        self._runner = web.AppRunner(
            app,
            access_log=None,
            handler_cancellation=True,
            shutdown_timeout=SHUTDOWN_SECONDS,
            auto_decompress=False,  # bodies are passed on as they come, and git packs some of its requests
        )

    async def open(self) -> None:
        """Prepare the application."""
        await self._runner.setup()

    async def connect(self) -> tuple[StreamReader, StreamWriter]:
        """Return the caller's end of a new connection."""
        ours, theirs = socket.socketpair()
        server = self._runner.server
        if server is None:
            raise ConnectionRefusedError("the proxy is stopping")
        await asyncio.get_running_loop().connect_accepted_socket(server, theirs)
        return await asyncio.open_connection(sock=ours, limit=CHUNK_BYTES)

    async def close(self) -> None:
        """Finish what is open within a second."""
        await self._runner.cleanup()
