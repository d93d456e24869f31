"""A sandbox's way out: a tool, the supervisor's relay, the proxy's pool and a destination, over real sockets."""

import asyncio
import hashlib
import shutil
from collections.abc import AsyncIterator
from ipaddress import ip_network

import pytest

from managed_agents.contracts.egress import EgressRules
from managed_agents.proxy.egress_rules import Networking
from support.egress import Network, ask, binding_of, serve, tunnel
from support.requirements import requirement
from support.sandbox_process import WAIT_SECONDS, Sandbox, new_folder

OPEN = Networking(is_limited=False)
HOST = "echo.example"


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A bound sandbox without a runner, for only its network is used."""
    made = Sandbox(new_folder())
    try:
        await made.start_supervisor()
        assert (await made.bind()).status == 200
        yield made
    finally:
        await made.close()
        shutil.rmtree(made.folder)


@pytest.fixture
async def echo() -> AsyncIterator[int]:
    """A destination that sends back what it gets, until its end."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
        writer.write(b"END")
        await writer.drain()

    server, port = await serve(handler)
    yield port
    server.close()


def _rules(port: int) -> EgressRules:
    return EgressRules(ports=(port,), allowed=(ip_network("127.0.0.0/8"),))


async def _network(sandbox: Sandbox, port: int, networking: Networking | None = OPEN) -> Network:
    made = Network.under(_rules(port), networking)
    made.names.known[HOST] = ["127.0.0.1"]
    made.pool.ensure(binding_of(sandbox))
    return made


@pytest.fixture
async def network(sandbox: Sandbox, echo: int) -> AsyncIterator[Network]:
    """An unrestricted Environment on a cluster whose administrator allows loopback and the destination's port."""
    made = await _network(sandbox, echo)
    yield made
    await made.pool.close()


@requirement("network")
async def test_a_tunnel_carries_bytes_both_ways_and_closes_one_way_at_a_time(
    sandbox: Sandbox, network: Network, echo: int
) -> None:
    reader, writer = await tunnel(sandbox, f"Echo.Example.:{echo}")
    writer.write(b"hello")
    async with asyncio.timeout(WAIT_SECONDS):
        assert await reader.readexactly(5) == b"hello"
        writer.write_eof()
        assert await reader.read() == b"END"
    writer.close()
    assert network.names.asked == [HOST]


@requirement("network-many")
async def test_fifty_tunnels_at_once_carry_a_megabyte_each(sandbox: Sandbox, network: Network, echo: int) -> None:
    sent = bytes(range(256)) * 4096

    async def one() -> str:
        reader, writer = await tunnel(sandbox, f"{HOST}:{echo}")

        async def send() -> None:
            writer.write(sent)
            await writer.drain()
            writer.write_eof()

        _, received = await asyncio.gather(send(), reader.read())
        writer.close()
        return hashlib.sha256(received).hexdigest()

    async with asyncio.timeout(30):
        digests = await asyncio.gather(*(one() for _ in range(50)))
    assert set(digests) == {hashlib.sha256(sent + b"END").hexdigest()}


async def test_a_plain_request_goes_on_in_origin_form_and_no_second_one_follows_it(
    sandbox: Sandbox, network: Network
) -> None:
    seen: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n") + await reader.readexactly(4))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        await writer.drain()

    server, port = await serve(handler)
    await network.pool.close()
    other = await _network(sandbox, port)
    first = f"POST http://{HOST}:{port}/a?b HTTP/1.1\r\nHost: inner.example\r\nContent-Length: 4\r\n\r\nbody"
    answer = await ask(sandbox, (first + "GET http://inner.example/ HTTP/1.1\r\n\r\n").encode())
    assert answer.endswith(b"\r\n\r\nok")
    assert seen == [
        f"POST /a?b HTTP/1.1\r\nHost: {HOST}:{port}\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody".encode()
    ]
    await other.pool.close()
    server.close()


async def test_a_chunked_body_goes_on_as_it_is(sandbox: Sandbox, network: Network) -> None:
    chunks = b"4;x=y\r\nwiki\r\n0\r\nTrailer: t\r\n\r\n"
    seen = bytearray()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        seen.extend(await reader.readexactly(len(chunks)))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()

    server, port = await serve(handler)
    await network.pool.close()
    other = await _network(sandbox, port)
    head = f"POST http://{HOST}:{port}/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    assert (await ask(sandbox, head + chunks + b"GET")).startswith(b"HTTP/1.1 204")
    assert bytes(seen) == chunks
    await other.pool.close()
    server.close()


@requirement("A15")
async def test_a_refused_host_is_named_and_never_resolved(sandbox: Sandbox, echo: int) -> None:
    limited = Networking(is_limited=True, hosts=frozenset({HOST}))
    network = await _network(sandbox, echo, limited)
    answer = await ask(sandbox, f"CONNECT evil.example:{echo} HTTP/1.1\r\n\r\n".encode())
    status, _, body = answer.decode().partition("\r\n\r\n")
    assert status.startswith("HTTP/1.1 403 Forbidden (sandbox network: evil.example is not allowed")
    assert "evil.example is not allowed by this environment; add it to networking.allowed_hosts" in body
    assert network.names.asked == []
    await network.pool.close()


@requirement("A17")
@pytest.mark.parametrize(
    ("addresses", "status"),
    [(["10.0.0.1"], 403), (["169.254.169.254", "::1"], 403), (["10.0.0.1", "127.0.0.1"], 200), ([], 403)],
)
async def test_only_an_open_address_of_a_name_is_dialled(
    sandbox: Sandbox, network: Network, echo: int, addresses: list[str], status: int
) -> None:
    network.names.known["rebound.example"] = addresses
    answer = await ask(sandbox, f"CONNECT rebound.example:{echo} HTTP/1.1\r\n\r\n".encode())
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())


async def test_an_unknown_name_and_a_silent_host_say_so(sandbox: Sandbox, network: Network, echo: int) -> None:
    unknown = await ask(sandbox, f"CONNECT nowhere.example:{echo} HTTP/1.1\r\n\r\n".encode())
    assert unknown.startswith(b"HTTP/1.1 502 ")
    assert b"nowhere.example is not known to the DNS" in unknown
    silent = await ask(sandbox, f"CONNECT silent.example:{echo} HTTP/1.1\r\n\r\n".encode())
    assert silent.startswith(b"HTTP/1.1 502 ")
    assert b"the DNS does not answer for silent.example" in silent
    network.names.known["closed.example"] = ["127.0.0.2"]
    closed = await ask(sandbox, f"CONNECT closed.example:{echo} HTTP/1.1\r\n\r\n".encode())
    assert closed.startswith(b"HTTP/1.1 502 ")


async def test_what_is_no_proxy_request_is_told_what_to_send(sandbox: Sandbox, network: Network) -> None:
    answer = await ask(sandbox, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"this is an HTTP proxy" in answer


async def test_nothing_is_open_while_the_environment_is_not_known(sandbox: Sandbox, echo: int) -> None:
    network = await _network(sandbox, echo, None)
    answer = await ask(sandbox, f"CONNECT {HOST}:{echo} HTTP/1.1\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert network.names.asked == []
    await network.pool.close()


@requirement("network-fenced")
async def test_a_newer_harness_takes_the_network_over(sandbox: Sandbox, network: Network, echo: int) -> None:
    held = await tunnel(sandbox, f"{HOST}:{echo}")
    newer = Network.under(_rules(echo), OPEN)
    newer.names.known[HOST] = ["127.0.0.1"]
    epoch = 2
    newer.pool.ensure(binding_of(sandbox, epoch=epoch))
    async with asyncio.timeout(WAIT_SECONDS):
        while not newer.names.asked:
            _, writer = await tunnel(sandbox, f"{HOST}:{echo}")
            writer.close()
    before = len(network.names.asked)
    for _ in range(8):
        _, writer = await tunnel(sandbox, f"{HOST}:{echo}")
        writer.close()
    assert len(network.names.asked) == before
    held[1].write(b"still")
    async with asyncio.timeout(WAIT_SECONDS):
        assert await held[0].readexactly(5) == b"still"
    held[1].close()
    await newer.pool.close()
    network.pool.ensure(binding_of(sandbox, epoch=1))  # refused: its tasks end


async def test_a_wrong_secret_gets_no_connection(sandbox: Sandbox) -> None:
    answer = await sandbox.post("/egress", None, Authorization="Bearer not-the-secret-of-it", X_Epoch="9")
    assert (answer.status, answer.error) == (403, "permission_error")
