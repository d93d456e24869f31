"""Any request to any public route: never a failure of ours, always the API's error, nothing left half made."""

import asyncio
import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from managed_agents.contracts.ids import API_KEY, EVENT, FILE, id_for
from managed_agents.server.app import PUBLIC_ROUTES
from managed_agents.server.routes.route import Route
from support.raw_http import RawAnswer, exchange
from support.server import USER_TOKEN, TestServer, message, server_in_process

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "400"))
_IS_USUAL = "FUZZ_EXAMPLES" not in os.environ
"""The usual run is the same each time; a longer one looks elsewhere each time."""


def _words(text: str) -> list[str]:
    return text.split()


NAMES = _words(
    """name model system description tools mcp_servers skills multiagent metadata config networking packages type scope
    agent environment_id title resources vault_ids initial_events budget events content text id version effort speed
    session_thread_id file_id mount_path custom_tool_use_id tool_use_id result deny_message source url amount currency
    """
)
QUERIES = _words(
    "limit page order types[] statuses[] created_at[gte] version agent_id include_archived after_id sender"
)
HEADERS = _words(
    """anthropic-beta anthropic-version anthropic-workspace-id content-type content-encoding accept range expect
    idempotency-key x-stainless-retry-count last-event-id x-api-key transfer-encoding te"""
)

texts = st.text(alphabet=st.characters(codec="utf-8"), max_size=20)
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
    | st.sampled_from(["agent", "cloud", "user.message", "text", "limited", "claude-opus-5-5", "2026-01-01T00:00:00Z"])
)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES) | texts, inner, max_size=4),
    max_leaves=12,
)


@dataclass(frozen=True, kw_only=True)
class Fuzzed:
    """A request as bytes, and the route that it aims at."""

    route: Route
    content: bytes


VALID: dict[str, Any] = {
    "/v1/agents": {"name": "a", "model": "claude-opus-5-5", "tools": [{"type": "agent_toolset_20260401"}]},
    "/v1/environments": {"name": "e", "config": {"type": "cloud", "networking": {"type": "unrestricted"}}},
    "/v1/sessions": {"agent": "AGENT", "environment_id": "ENV", "initial_events": [message("hello")]},
    "/v1/sessions/{session_id}/events": {"events": [message("hello"), {"type": "user.interrupt"}]},
}
"""Bodies near which mistakes are more telling than anywhere else."""


@st.composite
def bodies(draw: st.DrawFn, route: Route) -> bytes:
    """A body: valid but for one place, any JSON, or any bytes."""
    match draw(st.sampled_from(["broken", "broken", "json", "bytes"])):
        case "broken":
            valid = VALID.get(route.path, {draw(st.sampled_from(NAMES)): draw(values)})
            return json.dumps(draw(broken(valid))).encode()
        case "json":
            return json.dumps(draw(values)).encode()
        case _:
            return draw(st.binary(max_size=60))


@st.composite
def broken(draw: st.DrawFn, value: Any) -> Any:
    """A value with another one somewhere within, or with a field more or less."""
    if isinstance(value, dict) and value and draw(st.integers(0, 3)):
        name = draw(st.sampled_from(sorted(value)))
        return {**value, name: draw(broken(value[name]))}
    if isinstance(value, dict) and draw(st.booleans()):
        return {**value, draw(st.sampled_from(NAMES)): draw(values)}
    if isinstance(value, list) and value and draw(st.integers(0, 3)):
        return [draw(broken(value[0])), *value[1:]]
    return draw(values)


@st.composite
def requests(draw: st.DrawFn, ids: dict[str, list[str]]) -> Fuzzed:
    """Any request to one of the routes, now and then by a wrong method."""
    route = draw(st.sampled_from(PUBLIC_ROUTES))
    path = route.path
    for name in [part[1:-1] for part in route.path.split("/") if part.startswith("{")]:
        known = ids.get(name, ["agent_0123456789abcdef"])
        path = path.replace(f"{{{name}}}", quote(draw(st.sampled_from(known) | texts.filter(bool)), safe=""))
    query = draw(st.lists(st.tuples(st.sampled_from(QUERIES), texts), max_size=3))
    asked = "&".join(f"{quote(name)}={quote(value)}" for name, value in query)
    line = f"{path}?{asked}" if asked else path
    header_values = st.binary(max_size=20).map(lambda raw: raw.translate(None, b"\r\n\0"))
    headers = draw(st.dictionaries(st.sampled_from(HEADERS), header_values, max_size=2))
    method = draw(st.sampled_from([route.method] * 9 + ["PUT"]))
    body = draw(bodies(route)) if method != "GET" else b""
    lines = b"".join(b"%s: %s\r\n" % (name.encode(), value) for name, value in headers.items())
    head = f"{method} {line} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {USER_TOKEN}\r\n".encode()
    length = b"Content-Length: %d\r\n" % len(body)
    for place, identifier in (("AGENT", ids["agent_id"][0]), ("ENV", ids["environment_id"][0])):
        body = body.replace(f'"{place}"'.encode(), f'"{identifier}"'.encode())
        length = b"Content-Length: %d\r\n" % len(body)
    return Fuzzed(
        route=route,
        content=head + b"anthropic-workspace-id: team-a\r\n" * (len(headers) == 0) + lines + length + b"\r\n" + body,
    )


def require_sound(request: Fuzzed, answer: RawAnswer) -> None:
    """Check one answer."""
    assert answer.status < 500, (request.content, answer.body)
    assert answer.headers["request-id"].startswith("req_")
    if answer.status >= 400:
        assert answer.body["type"] == "error", request.content
        assert set(answer.body["error"]) >= {"type", "message"}
        assert answer.body["request_id"] == answer.headers["request-id"]


async def known_ids(server: TestServer) -> dict[str, list[str]]:
    """Make one object of each kind; return ids by the name of the path's parameter."""
    asked = {"anthropic-workspace-id": "team-a"}
    _, agent = await server.user("POST", "/agents", VALID["/v1/agents"], headers=asked)
    _, environment = await server.user("POST", "/environments", VALID["/v1/environments"], headers=asked)
    session = await server.create()
    return {
        "agent_id": [agent["id"]],
        "environment_id": [environment["id"]],
        "session_id": [session, "sesn_unknown0"],
        "file_id": [f"{FILE}_0123456789abcdef"],
        "event_id": [f"{EVENT}_0123456789abcdef"],
        "key_id": [id_for(API_KEY, "0")],
    }


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_no_request_to_any_public_route_is_a_failure_of_ours(tmp_path: Path) -> None:
    with asyncio.Runner() as runner:
        stack = contextlib.AsyncExitStack()
        server = runner.run(stack.enter_async_context(server_in_process(tmp_path)))
        try:
            ids = runner.run(known_ids(server))

            @settings(
                max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=_IS_USUAL
            )
            @given(requests(ids))
            def check(request: Fuzzed) -> None:
                require_sound(request, runner.run(exchange(server.public_url, request.content)))

            check()
            assert server.running is not None
            assert runner.run(server.running.context.log.intents()) == []
        finally:
            runner.run(stack.aclose())
