"""The sandbox hand between a harness, the server and a supervisor."""

from typing import Any

import orjson
import pytest
from aiohttp import web

from support.requirements import requirement

RESULT = {"content": [{"type": "text", "text": "hi"}], "is_error": False, "outcome": "completed"}
CALL = {"tool_use_id": "sevt_1", "name": "bash", "input": {"command": "ls"}}


class FakeServer:
    """Claims the supervisor of the bench, and says what state the sandbox is in."""

    def __init__(self, bench: Any) -> None:
        self.state: dict[str, object] = {"state": "ready", "reason": None, "message": None}
        self.claim: dict[str, object] = {
            "state": "ready",
            "pod_name": "ma-x-1",
            "generation": 1,
            "address": f"127.0.0.1:{bench.supervisor.url.port}",
            "bind_token": "bind-canary",
            "binding_secret": "binding-canary",
        }

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self.claim if request.method == "POST" else self.state)


@pytest.fixture
def server(bench: Any) -> FakeServer:
    """Put the fake behind the bench's server."""
    bench.server.handler = fake = FakeServer(bench)
    return fake


async def _post(bench: Any, path: str, body: object) -> tuple[int, Any]:
    async with bench.http.post(bench.hand(path), json=body) as answer:
        return answer.status, await answer.json()


async def _provision(bench: Any) -> tuple[int, Any]:
    return await _post(bench, "/provision", {"session_id": "sesn_1", "epoch": 4, "wait_seconds": 1})


async def test_provision_claims_and_binds_and_shows_no_secret(bench: Any, server: FakeServer) -> None:
    status, answer = await _provision(bench)
    assert (status, answer) == (200, {"state": "ready", "pod_name": "ma-x-1", "generation": 1})
    (claim,), (bind,) = bench.server.seen, bench.supervisor.seen
    assert claim.path == "/internal/v1/sessions/sesn_1/sandbox"
    assert claim.headers["authorization"] == "Bearer token-canary"
    assert orjson.loads(claim.body) == {"epoch": 4, "name": "default", "wait_seconds": 1}
    assert (bind.path, bind.headers["authorization"]) == ("/bind", "Bearer bind-canary")
    assert orjson.loads(bind.body) == {
        "session": "sesn_1",
        "epoch": 4,
        "name": "default",
        "secret": "binding-canary",
        "resources": {},
        "environment": {},
    }


async def test_a_pending_sandbox_says_why(bench: Any, server: FakeServer) -> None:
    server.claim = {"state": "pending", "pod_name": "p", "generation": 1, "reason": "Unschedulable", "message": "m"}
    assert await _provision(bench) == (200, server.claim)
    assert bench.supervisor.seen == []


async def test_execute_carries_secret_and_epoch_and_the_body_as_it_came(bench: Any, server: FakeServer) -> None:
    await _provision(bench)
    bench.supervisor.replies({**RESULT, "extra": 1})
    assert await _post(bench, "/execute", CALL) == (200, RESULT)
    seen = bench.supervisor.seen[-1]
    assert (seen.path, seen.headers["authorization"], seen.headers["x-epoch"]) == (
        "/execute",
        "Bearer binding-canary",
        "4",
    )
    assert orjson.loads(seen.body) == CALL
    assert seen.headers["content-length"] == str(len(seen.body))


async def test_lookup_and_cancel_ask_the_journal(bench: Any, server: FakeServer) -> None:
    await _provision(bench)
    bench.supervisor.replies({"state": "running"})
    async with bench.http.get(bench.hand("/calls/sevt_1")) as answer:
        assert await answer.json() == {"state": "running"}
    assert await _post(bench, "/calls/sevt_1/cancel", {}) == (200, {"state": "running"})
    paths = [(seen.method, seen.path) for seen in bench.supervisor.seen[1:]]
    assert paths == [("GET", "/calls/sevt_1"), ("POST", "/calls/sevt_1/cancel")]


async def test_a_supervisor_s_refusal_passes(bench: Any, server: FakeServer) -> None:
    await _provision(bench)
    error = {"error": {"type": "stale_epoch", "message": "m", "epoch": 9}}
    bench.supervisor.replies(error, status=409)
    assert await _post(bench, "/execute", CALL) == (409, error)


async def _vanish(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def test_a_broken_connection_to_a_gone_sandbox_is_410(bench: Any, server: FakeServer) -> None:
    await _provision(bench)
    bench.supervisor.handler = _vanish
    server.state = {"state": "gone", "reason": "Evicted", "message": "the node ran out of disk"}
    error = {"type": "sandbox_lost", "reason": "Evicted", "message": "the node ran out of disk"}
    assert await _post(bench, "/execute", CALL) == (410, {"error": error})
    assert bench.server.seen[-1].path.startswith("/internal/v1/sessions/sesn_1/sandbox/ma-x-1?wait_seconds=")


async def test_a_broken_connection_to_a_sandbox_that_may_live_is_502(bench: Any, server: FakeServer) -> None:
    await _provision(bench)
    bench.supervisor.handler = _vanish
    status, answer = await _post(bench, "/execute", CALL)
    assert (status, answer["error"]["type"]) == (502, "unreachable")
    assert len(bench.supervisor.seen) > 2


@requirement("F20")
@pytest.mark.parametrize("body", [b"not json", b"[]", b'{"content": [{"type": "text"}]}', b"\xff"])
async def test_a_fake_sandbox_s_reply_is_refused(bench: Any, server: FakeServer, body: bytes) -> None:
    await _provision(bench)

    async def reply(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=body)

    bench.supervisor.handler = reply
    status, answer = await _post(bench, "/execute", CALL)
    assert (status, answer["error"]["type"]) == (502, "malformed_reply")


async def test_a_redirecting_sandbox_gets_no_secret_followed(bench: Any, server: FakeServer) -> None:
    await _provision(bench)
    bench.supervisor.replies({}, status=307, Location=str(bench.provider.url))
    status, _ = await _post(bench, "/execute", CALL)
    assert status == 502
    assert bench.provider.seen == []


async def test_unknown_calls_and_paths_are_refused(bench: Any) -> None:
    assert (await _post(bench, "/execute", CALL))[0] == 409
    assert (await _post(bench, "/calls/a%20b/cancel", {}))[0] == 404
    assert (await _post(bench, "/provision", {"session_id": "sesn_1"}))[0] == 400
    assert (await _post(bench, "/other", {}))[0] == 404
