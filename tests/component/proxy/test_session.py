"""The session listener between a harness and the server."""

import asyncio
from typing import Any

import pytest
from aiohttp import WSMsgType, WSServerHandshakeError, web


async def test_a_call_reaches_the_server_with_the_pod_s_token(bench: Any) -> None:
    bench.server.replies({"head": 3})
    async with bench.http.post(
        bench.session("/sessions/sesn_1/events"), json={"epoch": 1}, headers={"Authorization": "Bearer mine"}
    ) as answer:
        assert (answer.status, await answer.json()) == (200, {"head": 3})
    (seen,) = bench.server.seen
    assert (seen.method, seen.path) == ("POST", "/internal/v1/sessions/sesn_1/events")
    assert seen.headers["authorization"] == "Bearer token-canary"
    assert seen.headers["content-type"] == "application/json"
    assert seen.body == b'{"epoch": 1}'


async def test_slices_pass_with_their_query_and_in_full(bench: Any) -> None:
    body = {"events": ["x" * 1000] * 3000}
    bench.server.replies(body)
    path = "/sessions/sesn_1/events?after_position=5&limit=1000"
    async with bench.http.get(bench.session(path)) as answer:
        assert await answer.json() == body
    assert bench.server.seen[0].path == f"/internal/v1{path}"


async def test_a_renewed_token_is_used_by_the_next_call(bench: Any) -> None:
    bench.token_file.write_text("second")
    async with bench.http.get(bench.session("/sessions/sesn_1")):
        pass
    assert bench.server.seen[0].headers["authorization"] == "Bearer second"


async def test_a_missing_token_is_unavailable(bench: Any) -> None:
    bench.token_file.unlink()
    async with bench.http.get(bench.session("/sessions/sesn_1")) as answer:
        assert (answer.status, (await answer.json())["error"]["type"]) == (503, "unavailable")


async def test_the_harness_may_not_claim_a_sandbox_itself(bench: Any) -> None:
    async with bench.http.post(bench.session("/sessions/sesn_1/sandbox"), json={"epoch": 1}) as answer:
        assert (answer.status, (await answer.json())["error"]["type"]) == (403, "forbidden")
    assert bench.server.seen == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/sessions/sesn_1"),
        ("DELETE", "/sessions/sesn_1"),
        ("GET", "/watch"),
        ("PUT", "/harness-pods/uid"),
        ("POST", "/sessions/sesn_1/sandbox/"),
        ("POST", "//sessions/sesn_1/sandbox"),
        ("GET", "/sessions/sesn_1%2F..%2Fx"),
        ("POST", "/sessions/sesn_1/%73andbox"),
    ],
)
async def test_what_the_contract_does_not_name_is_denied(bench: Any, method: str, path: str) -> None:
    async with bench.http.request(method, bench.session(path), json={}) as answer:
        assert answer.status in {403, 404, 405}
    assert bench.server.seen == []


async def test_a_file_of_the_session_passes_with_its_name(bench: Any) -> None:
    async def content(_: web.Request) -> web.StreamResponse:
        headers = {"Content-Type": "image/png", "Content-Disposition": 'attachment; filename="a.png"'}
        return web.Response(body=b"bytes", headers=headers)

    bench.server.handler = content
    async with bench.http.get(bench.session("/sessions/sesn_1/files/file_1/content")) as answer:
        assert (answer.status, answer.content_type, await answer.read()) == (200, "image/png", b"bytes")
        assert answer.content_disposition.filename == "a.png"
    async with bench.http.get(bench.session("/sessions/sesn_1/files/..%2fx/content")) as answer:
        assert answer.status == 404


async def test_errors_of_the_server_pass(bench: Any) -> None:
    error = {"error": {"type": "head_mismatch", "message": "m", "head": 9}}
    bench.server.replies(error, status=412)
    async with bench.http.post(bench.session("/sessions/sesn_1/events"), json={}) as answer:
        assert (answer.status, await answer.json()) == (412, error)


async def test_a_server_that_is_away_is_unavailable(bench: Any) -> None:
    async def vanish(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    bench.server.handler = vanish
    async with bench.http.post(bench.session("/sessions/sesn_1/release"), json={}) as answer:
        assert (answer.status, (await answer.json())["error"]["type"]) == (503, "unavailable")


class WakeServer:
    """The server's end of the wake socket: greets, echoes, and closes on `close`."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str('{"type": "lease"}')
        async for message in socket:
            if message.data == "close":
                await socket.close(code=4403, message=b"not registered")
            elif message.data == "vanish":
                assert request.transport is not None
                request.transport.abort()
            elif message.type is WSMsgType.TEXT:
                await socket.send_str(f"echo {message.data}")
        self.ended.set()
        return socket


async def _ready(bench: Any) -> int:
    async with bench.http.get(f"http://127.0.0.1:{bench.ports.health}/readyz") as answer:
        return int(answer.status)


async def test_wake_passes_frames_both_ways_and_is_the_readiness(bench: Any) -> None:
    bench.server.handler = server = WakeServer()
    assert await _ready(bench) == 503
    async with bench.http.ws_connect(bench.session("/wake")) as socket:
        assert await socket.receive_str(timeout=5) == '{"type": "lease"}'
        assert await _ready(bench) == 200
        await socket.send_str("heartbeat")
        assert await socket.receive_str(timeout=5) == "echo heartbeat"
    async with asyncio.timeout(5):
        await server.ended.wait()
    assert bench.server.seen[0].headers["authorization"] == "Bearer token-canary"
    assert await _ready(bench) == 503


@pytest.mark.parametrize(("command", "code"), [("close", 4403), ("vanish", 1012)])
async def test_the_end_on_the_server_s_side_reaches_the_harness(bench: Any, command: str, code: int) -> None:
    bench.server.handler = WakeServer()
    async with bench.http.ws_connect(bench.session("/wake")) as socket:
        await socket.receive_str(timeout=5)
        await socket.send_str(command)
        assert (await socket.receive(timeout=5)).type is WSMsgType.CLOSE
        assert socket.close_code == code


async def test_a_killed_harness_ends_the_server_s_side_at_once(bench: Any) -> None:
    bench.server.handler = server = WakeServer()
    socket = await bench.http.ws_connect(bench.session("/wake"))
    await socket.receive_str(timeout=5)
    socket._response.connection.transport.abort()
    async with asyncio.timeout(5):
        await server.ended.wait()


@pytest.mark.parametrize(("status", "seen"), [(401, 401), (403, 403), (500, 503)])
async def test_a_refused_wake_is_an_http_answer(bench: Any, status: int, seen: int) -> None:
    bench.server.replies({}, status=status)
    with pytest.raises(WSServerHandshakeError) as refused:
        await bench.http.ws_connect(bench.session("/wake"))
    assert refused.value.status == seen


async def test_a_wake_without_upgrade_is_refused(bench: Any) -> None:
    async with bench.http.get(bench.session("/wake")) as answer:
        assert answer.status == 400
    assert bench.server.seen == []
