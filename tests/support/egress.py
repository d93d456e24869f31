"""A sandbox's network on this machine: a real supervisor, the proxy's pool, and destinations on loopback."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from yarl import URL

from managed_agents.contracts.clock import SystemClock
from managed_agents.contracts.egress import EgressRules
from managed_agents.proxy.bindings import Binding
from managed_agents.proxy.egress import Egress, NetworkingOf, UndecidedError
from managed_agents.proxy.egress_pool import EgressPool, PoolPacing
from managed_agents.proxy.egress_rules import Networking
from managed_agents.proxy.injection.sandboxes import SandboxCredentials
from support.sandbox_process import SECRET, TOKEN, WAIT_SECONDS, Sandbox

Served = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Names:
    """The DNS of a test; records who was asked for."""

    known: dict[str, list[str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def resolve(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        if host.startswith("silent."):
            raise TimeoutError
        if host not in self.known:
            raise OSError(host)
        return self.known[host]


@dataclass
class Network:
    """The pool under test and what it asks."""

    names: Names
    pool: EgressPool
    networking: list[Networking | None]

    @classmethod
    def under(
        cls,
        rules: EgressRules,
        networking: Networking | None,
        credentials_of: Callable[[Binding], SandboxCredentials | None] = lambda _: None,
    ) -> "Network":
        """Make a pool whose sessions all have this networking; None: the server cannot be asked."""
        names, held = Names(), [networking]

        def networking_for(_session: str) -> NetworkingOf:
            async def read() -> Networking:
                if held[0] is None:
                    raise UndecidedError("not known now")
                return held[0]

            return read

        pacing = PoolPacing(waiting=4, pause_seconds=0.01, pause_seconds_max=0.05)
        egress = Egress(rules, names.resolve)
        pool = EgressPool(egress, networking_for, SystemClock(), pacing, credentials_of=credentials_of)
        return cls(names, pool, held)


def binding_of(sandbox: Sandbox, *, epoch: int = 1, secret: str = SECRET, pod_name: str = "ma-x") -> Binding:
    """Return the binding of a sandbox as a proxy keeps it."""
    base = URL.build(scheme="http", host="127.0.0.1", port=sandbox.port)
    return Binding(
        session="sesn_1",
        name="default",
        epoch=epoch,
        pod_name=pod_name,
        generation=1,
        base=base,
        token=TOKEN,
        secret=secret,
    )


async def ask(sandbox: Sandbox, raw: bytes) -> bytes:
    """Send bytes to the sandbox's HTTP proxy, say that no more come, and return all that comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", sandbox.relay_port)
    try:
        async with asyncio.timeout(2 * WAIT_SECONDS):
            writer.write(raw)
            await writer.drain()
            writer.write_eof()
            return await reader.read()
    finally:
        writer.close()


async def tunnel(sandbox: Sandbox, authority: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a CONNECT tunnel."""
    reader, writer = await asyncio.open_connection("127.0.0.1", sandbox.relay_port)
    writer.write(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
    async with asyncio.timeout(WAIT_SECONDS):
        head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), head
    return reader, writer


async def serve(handler: Served) -> tuple[asyncio.Server, int]:
    """Serve a destination on a free port of loopback."""

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(served, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]
