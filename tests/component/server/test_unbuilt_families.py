"""Families of the API that are not built yet answer 404 in the API's form, and say so."""

import pytest

from support.server import TestServer

CALLS = [
    ("GET", "/memory_stores"),
    ("POST", "/deployments"),
    ("GET", "/deployment_runs"),
    ("POST", "/skills"),
    ("GET", "/skills/skill_1/versions/latest/content"),
    ("POST", "/dreams"),
    ("GET", "/organizations/webhooks"),
    ("GET", "/tunnels"),
    ("GET", "/user_profiles"),
    ("GET", "/environments/env_1/work/poll?block_ms=5"),
    ("POST", "/environments/env_1/work/work_1/ack"),
    ("DELETE", "/agents/agent_1"),
]


@pytest.mark.parametrize(("method", "path"), CALLS)
async def test_an_unbuilt_call_says_that_it_is_not_built(server: TestServer, method: str, path: str) -> None:
    headers = {"anthropic-workspace-id": "team-a"}
    status, answer = await server.user(method, path, {} if method == "POST" else None, headers=headers)
    assert (status, answer["type"], answer["error"]["type"]) == (404, "error", "not_found_error")
    assert "not built into this server yet" in answer["error"]["message"]
    assert answer["request_id"].startswith("req_")
