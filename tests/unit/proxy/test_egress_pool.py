"""The pool of connections that wait in a sandbox: what it holds, it gives back, whenever it is told to let go."""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from yarl import URL

from managed_agents.contracts.clock import SystemClock
from managed_agents.contracts.egress import EgressRules
from managed_agents.proxy.bindings import Binding
from managed_agents.proxy.egress import Egress, NetworkingOf
from managed_agents.proxy.egress_pool import START, EgressPool, PoolPacing
from managed_agents.proxy.egress_rules import Networking

ONE = PoolPacing(waiting=1, tunnels_max=1, pause_seconds=0.01)


@dataclass
class Supervisor:
    """One that hands every connection to a tool at once."""

    port: int = 0
    taken: asyncio.Queue[StreamReader] = field(default_factory=asyncio.Queue)
    writers: list[StreamWriter] = field(default_factory=list)

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + START)
        self.writers.append(writer)
        self.taken.put_nowait(reader)

    async def next(self) -> StreamReader:
        async with asyncio.timeout(5):
            return await self.taken.get()


@asynccontextmanager
async def supervisor() -> AsyncIterator[Supervisor]:
    made = Supervisor()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        for writer in made.writers:
            writer.close()
        server.close()
        await server.wait_closed()


def binding_at(port: int, pod_name: str) -> Binding:
    base = URL.build(scheme="http", host="127.0.0.1", port=port)
    return Binding(
        session="sesn_1",
        name="default",
        epoch=1,
        pod_name=pod_name,
        generation=1,
        base=base,
        token="t",
        secret="s",
    )


def nothing_is_known(_session: str) -> NetworkingOf:
    async def read() -> Networking:
        raise OSError("nobody asks")

    return read


async def no_name(_host: str, _port: int) -> list[str]:
    raise OSError("nobody asks")


class RebindingPool(EgressPool):
    """A pool whose sandbox is replaced in the instant at which a tool's connection has been handed over."""

    successor: Binding | None = None

    async def _assigned(self, *arguments: Any) -> None:
        await super()._assigned(*arguments)
        if self.successor is not None:
            successor, self.successor = self.successor, None
            self.ensure(successor)


async def test_connection_that_is_dropped_before_it_is_served_makes_room_and_is_closed() -> None:
    async with supervisor() as sandbox:
        pool = RebindingPool(Egress(EgressRules(), no_name), nothing_is_known, SystemClock(), ONE)
        first = binding_at(sandbox.port, "ma-first")
        pool.successor = replace(first, pod_name="ma-second")
        try:
            pool.ensure(first)
            dropped = await sandbox.next()
            await sandbox.next()
            async with asyncio.timeout(5):
                assert await dropped.read() == START
        finally:
            await pool.close()
