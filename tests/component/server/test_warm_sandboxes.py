"""Pools of blank sandboxes over HTTP, as the operator keeps them and a harness claims from them."""

import asyncio
from typing import Any

import pytest

from managed_agents.contracts.api.environments import environment_id_of
from support.kube import kind_of
from support.public_sessions import apply
from support.requirements import requirement
from support.server import TestServer
from support.waiting import until

ADDRESS = "10.0.0.1:7400"


async def environment(server: TestServer, name: str = "python") -> str:
    """Apply an Environment and wait until the server has seen it; return its id."""
    made = apply(server.kube, "environments", name, {"config": {"type": "cloud"}})
    found = environment_id_of(made)
    await until(lambda: server.objects.environments.find(found) is not None)
    return found


async def session(server: TestServer, name: str, environment_id: str) -> str:
    """Make a session of an Environment whose harness has an epoch; return its id."""
    config = {"id": environment_id, "name": "python", "config": {"type": "cloud"}}
    made = await server.create(name, environment=config)
    await server.register(made, f"pod-of-{name}")
    async with server.wake(f"pod-of-{name}") as socket:
        await server.leased(socket)
    return made


async def put_pool(server: TestServer, environment_id: str, pool: str = "p-1", generation: int = 1) -> None:
    body = {"generation": generation, "pool": pool}
    assert (await server.operator("PUT", f"/sandbox-pools/team-a/{environment_id}", body))[0] == 204


async def left(server: TestServer) -> list[dict[str, Any]]:
    """Return the sandboxes that no session has."""
    status, answer = await server.operator("GET", "/warm-sandboxes/team-a")
    assert status == 200, answer
    found: list[dict[str, Any]] = answer["sandboxes"]
    return found


async def add(server: TestServer, environment_id: str, pool: str = "p-1", **changes: Any) -> dict[str, Any]:
    body = {"namespace": "team-a", "environment": environment_id, "name": "python", "pool": pool, **changes}
    status, answer = await server.operator("POST", "/warm-sandboxes", body)
    assert status == 201, answer
    made: dict[str, Any] = answer
    return made


async def report(server: TestServer, pod_name: str, state: str = "ready", **changes: Any) -> int:
    body = {"state": state, "pod_uid": f"uid-of-{pod_name}", "address": ADDRESS, **changes}
    return (await server.operator("PUT", f"/warm-sandboxes/team-a/{pod_name}", body))[0]


async def claim(server: TestServer, name: str, session_id: str) -> dict[str, Any]:
    body = {"epoch": 1, "name": "default", "wait_seconds": 0}
    status, answer = await server.harness(f"pod-of-{name}", "POST", f"/sessions/{session_id}/sandbox", body)
    assert status == 200, answer
    claimed: dict[str, Any] = answer
    return claimed


@requirement("warm-sandbox-once")
async def test_a_warm_sandbox_is_made_claimed_and_told_of(server: TestServer) -> None:
    python = await environment(server)
    mine = await session(server, "a", python)
    await put_pool(server, python)
    assert await left(server) == []
    made = await add(server, python)
    name = made["pod_name"]
    assert made == {
        "pod_name": name,
        "environment": python,
        "pool": "p-1",
        "state": "wanted",
        "token_sha256": made["token_sha256"],
        "has_claim": False,
        "packages": None,
        "pod_uid": None,
        "address": None,
    }
    assert name.startswith("ma-warm-python-")
    assert await report(server, name) == 204
    assert await left(server) == [made | {"state": "free", "pod_uid": f"uid-of-{name}", "address": ADDRESS}]

    claimed = await claim(server, "a", mine)
    shown = {key: claimed[key] for key in ("state", "pod_name", "generation", "address")}
    assert shown == {"state": "ready", "pod_name": name, "generation": 1, "address": ADDRESS}
    sandbox = (await server.operator("GET", f"/sessions/{mine}"))[1]["sandbox"]
    assert (sandbox["pod_uid"], sandbox["token_sha256"]) == (f"uid-of-{name}", made["token_sha256"])
    assert await left(server) == []
    assert await claim(server, "a", mine) == claimed

    status, refused = await server.operator("DELETE", f"/warm-sandboxes/team-a/{name}")
    assert (status, refused["error"]["type"]) == (409, "conflict")
    assert await report(server, name) == 404
    gone = {"session_id": mine, "pod_uid": f"uid-of-{name}", "state": "gone", "reason": "Deleted", "message": "gone"}
    assert (await server.operator("PUT", f"/sandboxes/team-a/{name}", gone))[0] == 204
    assert (await claim(server, "a", mine))["state"] == "pending"


@requirement("warm-sandbox-once")
async def test_ten_claims_at_once_on_a_pool_of_one(server: TestServer) -> None:
    python = await environment(server)
    sessions = [(f"s{number}", await session(server, f"s{number}", python)) for number in range(10)]
    await put_pool(server, python)
    name = (await add(server, python))["pod_name"]
    await report(server, name)
    claims = await asyncio.gather(*(claim(server, *item) for item in sessions))
    assert sorted(item["state"] for item in claims) == ["pending"] * 9 + ["ready"]
    assert len({item["pod_name"] for item in claims}) == 10


@requirement("warm-sandbox-rolls")
async def test_an_environment_that_changes_takes_its_pool_out_of_use_without_the_operator(server: TestServer) -> None:
    python = await environment(server)
    mine, other = [await session(server, name, python) for name in ("a", "b")]
    await put_pool(server, python)
    await report(server, (await add(server, python))["pod_name"])
    server.kube.merge(kind_of("environments"), "team-a", "python", {"spec": {"sandbox": {"image": "other"}}})

    def generation() -> int:
        found = server.objects.environments.find(python)
        return 0 if found is None else int(found["metadata"]["generation"])

    await until(lambda: generation() == 2)
    assert (await claim(server, "a", mine))["state"] == "pending"
    await put_pool(server, python, "p-2", generation=2)
    await report(server, (await add(server, python, "p-2"))["pod_name"])
    assert (await claim(server, "b", other))["state"] == "ready"


async def test_a_sandbox_of_another_environment_is_not_claimed(server: TestServer) -> None:
    python, node = await environment(server), await environment(server, "node")
    mine = await session(server, "a", node)
    await put_pool(server, python)
    await report(server, (await add(server, python))["pod_name"])
    assert (await claim(server, "a", mine))["state"] == "pending"


async def test_a_pool_is_told_of_until_it_is_dropped_and_empty(server: TestServer) -> None:
    python = await environment(server)
    await put_pool(server, python, generation=7)
    name = (await add(server, python, has_claim=True))["pod_name"]
    _, kept = await server.operator("GET", "/warm-sandboxes/team-a")
    assert kept["pools"] == [{"environment": python, "generation": 7, "pool": "p-1"}]
    assert (await server.operator("DELETE", f"/sandbox-pools/team-a/{python}"))[0] == 204
    _, kept = await server.operator("GET", "/warm-sandboxes/team-a")
    assert (kept["pools"], [one["pod_name"] for one in kept["sandboxes"]]) == ([], [name])
    assert await server.operator("GET", "/warm-sandboxes") == (200, {"namespaces": ["team-a"]})
    assert await server.operator("DELETE", f"/warm-sandboxes/team-a/{name}") == (200, {"is_workspace": False})
    assert await server.operator("GET", "/warm-sandboxes") == (200, {"namespaces": []})


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("PUT", "/sandbox-pools/team-a/env_1", {"pool": "p"}, "generation"),
        ("PUT", "/sandbox-pools/team-a/env_1", {"generation": 1}, "pool"),
        ("POST", "/warm-sandboxes", {"namespace": "team-a", "environment": "e", "name": "n", "pool": ""}, "pool"),
        (
            "POST",
            "/warm-sandboxes",
            {"namespace": "team-a", "environment": "e", "name": "n", "pool": "p", "packages": "x"},
            "packages",
        ),
        ("PUT", "/warm-sandboxes/team-a/pod", {"state": "free"}, "state"),
        ("PUT", "/warm-sandboxes/team-a/pod", {"state": "ready", "pod_uid": "u"}, "address"),
    ],
)
async def test_a_malformed_call_is_refused_by_field(
    server: TestServer, method: str, path: str, body: dict[str, Any], field: str
) -> None:
    status, refused = await server.operator(method, path, body)
    assert (status, refused["error"]["type"]) == (400, "invalid_request")
    assert refused["error"]["message"].startswith(f"{field}:")


async def test_pools_are_the_operators(server: TestServer) -> None:
    python = await environment(server)
    await session(server, "a", python)
    for method, path in (
        ("GET", "/warm-sandboxes"),
        ("GET", "/warm-sandboxes/team-a"),
        ("PUT", f"/sandbox-pools/team-a/{python}"),
        ("DELETE", f"/sandbox-pools/team-a/{python}"),
        ("POST", "/warm-sandboxes"),
        ("PUT", "/warm-sandboxes/team-a/pod"),
        ("DELETE", "/warm-sandboxes/team-a/pod"),
    ):
        status, refused = await server.harness("pod-of-a", method, path, {})
        assert (path, status, refused["error"]["type"]) == (path, 403, "forbidden")
