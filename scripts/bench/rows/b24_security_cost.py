"""B24: what it costs a tool's HTTPS request that the way out is judged, and that a credential is put into it."""

import asyncio
import shutil
import ssl
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from bench.stage import Order, Sample, Samples, Side, Stage
from support.injection import FOREIGN, HOST, World, close, credential, world_in
from support.sandbox_process import Sandbox, new_folder

REQUESTS = 200
CONNECTIONS = 30

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def _world() -> AsyncIterator[World]:
    """Run a sandbox whose session has a credential for one of two hosts, both of this process."""
    sandbox = Sandbox(new_folder())
    try:
        await sandbox.start_supervisor()
        with tempfile.TemporaryDirectory() as folder:
            made = await world_in(sandbox, Path(folder), credential())
            try:
                yield made
            finally:
                await close(made)
    finally:
        await sandbox.close()
        shutil.rmtree(sandbox.folder)


async def _directly(world: World) -> Streams:
    context = ssl.create_default_context(cadata=world.authority.pem)
    return await asyncio.open_connection("127.0.0.1", world.server.port, ssl=context, server_hostname=HOST)


async def _tunnelled(world: World) -> Streams:
    return await world.tls(f"{FOREIGN}:{world.foreign.port}", name=FOREIGN, trusted=world.authority.pem)


async def _read(world: World) -> Streams:
    return await world.tls(f"{HOST}:{world.server.port}")


async def _asked(streams: Streams, host: str, value: str) -> float:
    reader, writer = streams
    started = time.monotonic()
    writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\nX-Key: {value}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    await reader.readexactly(int(length.partition(b":")[2]))
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"{host} answered {head[:80]!r}")
    return (time.monotonic() - started) * 1000


async def _measure(order: Order) -> Samples:
    async with _world() as world, AsyncExitStack() as stack:
        own, foreign = f"{HOST}:{world.server.port}", f"{FOREIGN}:{world.foreign.port}"
        ways = {
            "tunnelled": (Side.PATH, _tunnelled, foreign),
            "with a credential": (Side.PATH, _read, own),
            "": (Side.FLOOR, _directly, own),
        }
        opened = {}
        for name, (_, open_, _host) in ways.items():
            opened[name] = await open_(world)
            stack.callback(opened[name][1].close)
        for _ in range(order.count(REQUESTS)):
            for name, (side, _, host) in ways.items():
                value = await _asked(opened[name], host, world.placeholder())
                for case in [name] if name else [way for way in ways if way]:
                    yield Sample(case=f"a request, {case}", value=value, side=side)
        for _ in range(order.count(CONNECTIONS)):
            for name, (side, open_, host) in ways.items():
                started = time.monotonic()
                streams = await open_(world)
                await _asked(streams, host, world.placeholder())
                value = (time.monotonic() - started) * 1000
                streams[1].close()
                for case in [name] if name else [way for way in ways if way]:
                    yield Sample(case=f"a new connection and a request, {case}", value=value, side=side)


STAGE = Stage(
    id="B24",
    title="security cost",
    path="a tool's HTTPS request through relay and egress, to a host without and with a credential",
    floor="the same server, asked directly",
    target="reported",
    seconds_max=240,
    alone=_measure,
    is_quick=False,
    note="All on loopback, and the server is in the measuring process: a real destination is milliseconds away, beside "
    "which these are small. NetworkPolicies and gVisor are not in it.",
)
