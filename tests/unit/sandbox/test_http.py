"""The HTTP server: keep-alive, bounds, and a clear answer to everything malformed."""

import asyncio
import json

import pytest

from support.sandbox_process import SECRET, Sandbox, exchange, request_bytes

pytestmark = pytest.mark.slow  # whole processes

MALFORMED = [
    (b"nonsense\r\n\r\n", 400, "invalid_request_error"),
    (b"GET /livez HTTP/2\r\n\r\n", 400, "invalid_request_error"),
    (b"GET /livez HTTP/1.1\r\nbroken\r\n\r\n", 400, "invalid_request_error"),
    (b"GET /livez HTTP/1.1\r\nA: 1\r\na: 2\r\n\r\n", 400, "invalid_request_error"),
    (b"GET /livez HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400, "invalid_request_error"),
    (b"GET /livez HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", 400, "invalid_request_error"),
    (b"POST /bind HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411, "length_required"),
    (b"POST /bind HTTP/1.1\r\nContent-Type: application/json\r\n\r\n", 411, "length_required"),
    (b"GET /nowhere HTTP/1.1\r\n\r\n", 404, "not_found_error"),
    (b"GET /calls/a/b/c HTTP/1.1\r\n\r\n", 404, "not_found_error"),
    (b"POST /livez HTTP/1.1\r\n\r\n", 405, "method_not_allowed"),
    (b"GET /execute HTTP/1.1\r\n\r\n", 405, "method_not_allowed"),
]


async def test_a_malformed_request_is_refused(sandbox: Sandbox) -> None:
    for raw, status, kind in MALFORMED:
        answer = await exchange(sandbox.port, raw)
        assert (raw[:80], answer.status, answer.error) == (raw[:80], status, kind)
    assert (await sandbox.get("/livez")).status == 200


async def test_a_body_that_is_not_json_is_refused(sandbox: Sandbox) -> None:
    head = request_bytes("POST", "/execute", Authorization=f"Bearer {SECRET}", X_Epoch="1")
    for body in (b"{", b"", b"\xff", b'{"a": NaN}', b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}"):
        sized = head.replace(b"Content-Length: 0", b"Content-Length: %d" % len(body))
        answer = await exchange(sandbox.port, sized + body)
        assert (body[:20], answer.status, answer.error) == (body[:20], 400, "invalid_request_error")


async def test_an_oversized_body_is_refused_unread(sandbox: Sandbox) -> None:
    head = request_bytes("POST", "/execute", Authorization=f"Bearer {SECRET}", X_Epoch="1")
    answer = await exchange(sandbox.port, head.replace(b"Content-Length: 0", b"Content-Length: 67108865"))
    assert (answer.status, answer.error) == (413, "request_too_large")


async def test_a_strangers_body_is_not_read(sandbox: Sandbox) -> None:
    head = request_bytes("POST", "/execute", Authorization="Bearer wrong", X_Epoch="1")
    answer = await exchange(sandbox.port, head.replace(b"Content-Length: 0", b"Content-Length: 1000000"))
    assert answer.status == 403


async def test_a_connection_serves_many_requests(sandbox: Sandbox) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", sandbox.port)
    for path in ("/livez", "/nowhere", "/healthz"):
        writer.write(request_bytes("GET", path))
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"Connection: keep-alive" in head
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        assert isinstance(json.loads(await reader.readexactly(length)), dict)
    writer.close()


async def test_a_large_write_passes(sandbox: Sandbox) -> None:
    content = "ü" * (4 * 1024 * 1024)
    answer = await sandbox.execute("call_1", "write", file_path="large.txt", content=content)
    assert answer.text == f"wrote {len(content)} bytes to large.txt"
    assert (sandbox.workdir / "large.txt").stat().st_size == 8 * 1024 * 1024


async def test_too_many_connections_are_refused_and_the_rest_served(sandbox: Sandbox) -> None:
    held = [await asyncio.open_connection("127.0.0.1", sandbox.port) for _ in range(64)]
    for reader, writer in held:  # each is known to be served before the next one comes
        writer.write(request_bytes("GET", "/livez"))
        await reader.readuntil(b"\r\n\r\n{}")
    assert (await sandbox.get("/livez")).error == "too_many_connections"
    for _, writer in held:
        writer.close()
    await sandbox.wait_runner(present=True)
