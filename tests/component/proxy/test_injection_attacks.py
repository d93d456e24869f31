"""What a sandbox may try at a host that has a credential, over connections of its own making (A15 to A20)."""

import asyncio
import base64
import hashlib
import shutil
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from support.authorities import TestAuthority
from support.egress import ask, serve, tunnel
from support.injection import FOREIGN, HOST, VALUE, Server, World, close, credential, everywhere, world_in
from support.requirements import requirement
from support.sandbox_process import WAIT_SECONDS, Sandbox, new_folder

pytestmark = pytest.mark.slow  # whole processes


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A sandbox without a runner: the tests are the tool."""
    made = Sandbox(new_folder())
    try:
        await made.start_supervisor()
        yield made
    finally:
        await made.close()
        shutil.rmtree(made.folder)


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def head(world: World, *lines: str, method: str = "GET", target: str = "/") -> bytes:
    """Return a request's head that closes the connection; `{host}` and `{key}` stand for host and placeholder."""
    host = f"{HOST}:{world.server.port}"
    given = (f"{method} {target} HTTP/1.1", *(lines or ("Host: {host}",)), "Connection: close", "", "")
    return "\r\n".join(given).format(host=host, key=world.placeholder()).encode()


@requirement("A16")
@pytest.mark.parametrize(
    ("lines", "target", "status"),
    [
        (("Host: {host}",), "/", 200),
        (("Host: {host}",), "https://{host}/x", 200),
        ((f"Host: {FOREIGN}",), "/", 421),
        ((f"Host: {HOST}",), "/", 421),
        (("Host: {host}", f"Host: {FOREIGN}"), "/", 400),
        (("X: y",), "/", 400),
        (("Host: {host}",), f"https://{FOREIGN}/", 421),
        (("Host: {host}",), "http://{host}/", 421),
        (("Host: {host}@evil.example",), "/", 421),
    ],
)
async def test_a_request_names_the_host_of_its_tunnel(
    world: World, lines: tuple[str, ...], target: str, status: int
) -> None:
    answer = await world.raw(head(world, *lines, target=target))
    assert status_of(answer) == status, answer
    assert len(world.server.got) == (status == 200)


@requirement("A16")
async def test_a_tunnel_has_a_certificate_for_its_own_host_only(world: World) -> None:
    with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
        await world.raw(b"", name=FOREIGN)
    assert world.server.got == []


@requirement("A16")
@pytest.mark.parametrize(
    "lines",
    [
        ("Host: {host}", "Content-Length: 3", "Transfer-Encoding: chunked"),
        ("Host: {host}", "Content-Length: 3", "Content-Length: 4"),
        ("Host: {host}", "Transfer-Encoding: gzip, chunked"),
        ("Host: {host}", "X-One : y"),
        ("Host: {host}", "X-One: a\x00b"),
    ],
)
async def test_a_request_of_two_meanings_is_refused(world: World, lines: tuple[str, ...]) -> None:
    assert status_of(await world.raw(head(world, *lines, method="POST") + b"abc")) in {400, 501}
    assert world.server.got == []


@requirement("A16")
async def test_line_ends_of_another_kind_hide_no_second_request(world: World) -> None:
    lines = ("Host: {host}", "X-One: a\n\nGET /smuggled HTTP/1.1\nHost: foreign.example\n\n")
    assert status_of(await world.raw(head(world, *lines))) == 200
    assert [got.path for got in world.server.got] == ["/"]


@requirement("A20")
async def test_a_value_never_ends_a_header(sandbox: Sandbox, tmp_path: Path) -> None:
    world = await world_in(sandbox, tmp_path, credential(value="one\r\nX-Smuggled: two"))
    answer = await world.raw(head(world, "Host: {host}", "X-Key: {key}"))
    assert (status_of(answer), b"X-Sandbox-Network: credential_unsendable" in answer) == (502, True)
    assert b"Smuggled" not in answer
    assert world.server.got == []
    await close(world)


async def test_a_header_of_the_connection_goes_no_further(world: World) -> None:
    await world.raw(head(world, "Host: {host}", "Connection: x-hop", "X-Hop: {key}", "TE: trailers", "Upgrade: h2c"))
    [got] = world.server.got
    assert not {"x-hop", "te", "upgrade"} & got.headers.keys()


@requirement("A19")
async def test_trace_would_show_the_value_and_is_refused(world: World) -> None:
    assert status_of(await world.raw(head(world, "Host: {host}", "X-Key: {key}", method="TRACE"))) == 405
    assert world.server.got == []


@requirement("A19")
async def test_a_named_host_is_reached_over_tls_only(world: World) -> None:
    answer = await ask(world.sandbox, f"GET http://{HOST}:{world.server.port}/ HTTP/1.1\r\n\r\n".encode())
    assert (status_of(answer), b"X-Sandbox-Network: plain_http" in answer) == (403, True)
    reader, writer = await tunnel(world.sandbox, f"{HOST}:{world.server.port}")
    writer.write(head(world, "Host: {host}", "Authorization: mine"))
    async with asyncio.timeout(WAIT_SECONDS):
        assert await reader.read() == b""
    writer.close()
    assert world.server.got == []


@requirement("A20")
async def test_a_placeholder_split_over_chunks_is_replaced(world: World) -> None:
    lines = ("Host: {host}", "Content-Type: text/plain", "Transfer-Encoding: chunked")
    text = f"<{world.placeholder()}{world.placeholder()[:20]}|{world.placeholder()}>".encode()
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in text)
    assert status_of(await world.raw(head(world, *lines, method="POST") + chunks + b"0\r\n\r\n")) == 200
    [got] = world.server.got
    assert got.body.decode() == f"<{VALUE}{world.placeholder()[:20]}|{VALUE}>"


@requirement("A20")
async def test_a_late_placeholder_in_a_body_with_a_length_is_refused_not_sent(world: World) -> None:
    body = b"x" * 200_000 + world.placeholder().encode()
    lines = ("Host: {host}", "Content-Type: text/plain", f"Content-Length: {len(body)}")
    answer = await world.raw(head(world, *lines, method="POST") + body)
    assert (status_of(answer), b"X-Sandbox-Network: placeholder_late" in answer) == (413, True)


@requirement("A20")
async def test_an_early_placeholder_in_a_long_body_makes_it_chunked(world: World) -> None:
    body = world.placeholder().encode() + b"x" * 200_000
    lines = ("Host: {host}", "Content-Type: text/plain", f"Content-Length: {len(body)}")
    assert status_of(await world.raw(head(world, *lines, method="POST") + body)) == 200
    [got] = world.server.got
    assert hashlib.sha256(got.body).digest() == hashlib.sha256(VALUE.encode() + b"x" * 200_000).digest()


async def test_a_compressed_body_goes_on_as_it_is(world: World) -> None:
    body = world.placeholder().encode()
    lines = ("Host: {host}", "Content-Encoding: zstd", "Content-Type: text/plain", f"Content-Length: {len(body)}")
    world.server.handler = _ok
    assert status_of(await world.raw(head(world, *lines, method="POST") + body)) in {200, 400}
    assert VALUE.encode() not in b"".join(got.body for got in world.server.got)


async def _ok(_: web.Request) -> web.StreamResponse:
    return web.Response()


async def test_a_tool_that_expects_100_gets_it_before_its_body(world: World) -> None:
    for kind in ("text/plain", "application/gzip\r\nContent-Encoding: gzip"):
        reader, writer = await world.tls(f"{HOST}:{world.server.port}")
        world.server.handler = _ok
        body = world.placeholder().encode()
        lines = ("Host: {host}", f"Content-Type: {kind}", f"Content-Length: {len(body)}", "Expect: 100-continue")
        async with asyncio.timeout(WAIT_SECONDS):
            writer.write(head(world, *lines, method="PUT"))
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
            writer.write(body)
            assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 ")
        writer.close()


async def test_a_websocket_gets_the_value_in_its_handshake_and_nothing_in_its_stream(world: World) -> None:
    key = base64.b64encode(b"0123456789abcdef").decode()
    lines = ("Host: {host}", "Upgrade: websocket", f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", "X: {key}")
    request = head(world, *lines).replace(b"Connection: close", b"Connection: Upgrade")
    reader, writer = await world.tls(f"{HOST}:{world.server.port}")
    text = world.placeholder().encode()
    frame = bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text
    async with asyncio.timeout(WAIT_SECONDS):
        writer.write(request)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        writer.write(frame)
        assert await reader.readexactly(2 + len(text)) == bytes([0x81, len(text)]) + text
    writer.close()
    assert world.server.got[0].headers["x"] == VALUE


async def test_an_answer_before_the_request_is_whole_reaches_the_tool(world: World) -> None:
    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
        await writer.drain()

    server = await asyncio.start_server(early, "127.0.0.1", 0, ssl=world.authority.server_context(HOST))
    port = server.sockets[0].getsockname()[1]
    await world.server.stop()
    world.open_port(port)
    reader, writer = await world.tls(f"{HOST}:{port}")
    lines = (f"Host: {HOST}:{port}", "Content-Length: 100000000", "Content-Encoding: gzip")
    async with asyncio.timeout(WAIT_SECONDS):
        writer.write(head(world, *lines, method="POST") + b"x" * 100_000)
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert answer.endswith(b"big")
    writer.close()
    server.close()


@requirement("injection-upstream")
@pytest.mark.parametrize(
    ("days", "name", "is_trusted", "says"),
    [
        ((-9, -1), HOST, True, b"certificate has expired"),
        ((-1, 9), HOST, False, b"self-signed certificate in certificate chain|unable to get local issuer certificate"),
        ((-1, 9), FOREIGN, True, b"Hostname mismatch"),
    ],
)
async def test_a_wrong_certificate_is_refused_before_anything_is_sent(
    world: World, tmp_path: Path, days: tuple[int, int], name: str, is_trusted: bool, says: bytes
) -> None:
    authority = world.authority if is_trusted else TestAuthority(tmp_path, "stranger")
    await world.server.stop()
    server = await Server().start(authority.server_context(name, days=days))
    world.server = server
    world.open_port(server.port)
    answer = await world.raw(head(world, "Host: {host}", "X-Key: {key}"))
    assert (status_of(answer), b"X-Sandbox-Network: certificate" in answer) == (502, True)
    assert any(part in answer for part in says.split(b"|")), answer
    assert server.got == []


async def test_a_destination_without_tls_says_so(world: World) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        await reader.read(1)

    server, port = await serve(talk)
    await world.server.stop()
    world.server.port = port
    world.open_port(port)
    answer = await world.raw(head(world, "Host: {host}", "X-Key: {key}"))
    assert (status_of(answer), b"X-Sandbox-Network: tls" in answer) == (502, True)
    server.close()


@requirement("injection-answers")
async def test_an_answer_that_is_not_http_is_not_quoted(world: World) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 OK\r\n{VALUE} is no header\r\n\r\n".encode())
        await writer.drain()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=world.authority.server_context(HOST))
    await world.server.stop()
    world.server.port = server.sockets[0].getsockname()[1]
    world.open_port(world.server.port)
    answer = await world.raw(head(world, "Host: {host}", "X-Key: {key}"))
    assert (status_of(answer), b"X-Sandbox-Network: malformed" in answer) == (502, True)
    assert VALUE.encode() not in answer
    server.close()


async def test_what_is_not_tls_passes_a_credential_for_every_host(sandbox: Sandbox, tmp_path: Path) -> None:
    world = await world_in(sandbox, tmp_path, everywhere())
    plain = await Server().start(None)
    world.open_port(plain.port)
    reader, writer = await tunnel(sandbox, f"{HOST}:{plain.port}")
    writer.write(f"GET /{world.placeholder()} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    async with asyncio.timeout(WAIT_SECONDS):
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
    writer.close()
    assert plain.got[0].path == f"/{world.placeholder()}"
    await plain.stop()
    await close(world)


@requirement("injection-audit")
async def test_the_audit_names_credential_and_host_and_no_content(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    await world.raw(head(world, "Host: {host}", "X-Key: {key}", "Cookie: mine", target="/secret-path"))
    said = capsys.readouterr().out
    assert "injected=['vcrd_token']" in said
    assert "stripped=('cookie',)" in said
    assert HOST in said
    for absent in (VALUE, world.placeholder(), "secret-path", "mine"):
        assert absent not in said


async def test_broken_credentials_close_the_network_and_say_so(world: World) -> None:
    (world.folder / "credentials.json").write_text("{")
    answer = await ask(world.sandbox, f"CONNECT {FOREIGN}:{world.foreign.port} HTTP/1.1\r\n\r\n".encode())
    assert (status_of(answer), b"X-Sandbox-Network: credentials_unreadable" in answer) == (503, True)
