"""API keys: made and revoked as objects, confined to their namespace, and who sent what."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import anthropic
import pytest

from managed_agents.contracts.ids import API_KEY, id_for, workspace_id_for
from managed_agents.server.factory import running_server
from support.kube import kind_of
from support.server import USER_TOKEN, TestServer, fake_kubernetes, message, server_in_process, settings_for
from support.waiting import until

KEY = "sk-ma-0123456789"


async def grant(server: TestServer, name: str = "ci", key: str = KEY, namespace: str = "team-a", **spec: Any) -> str:
    """Make an ApiKey as `kubectl apply` does, and wait until the server knows it; return its id."""
    body = {"metadata": {"name": name}, "spec": {"sha256": hashlib.sha256(key.encode()).hexdigest(), **spec}}
    made = server.kube.create(kind_of("apikeys"), namespace, body)
    await until(lambda: server.objects.api_keys.by_name(namespace, name) is not None)
    return id_for(API_KEY, made["metadata"]["uid"])


async def revoke(server: TestServer, name: str = "ci", namespace: str = "team-a") -> None:
    server.kube.delete(kind_of("apikeys"), namespace, name)
    await until(lambda: server.objects.api_keys.by_name(namespace, name) is None)


async def send(server: TestServer, session: str, key: str = KEY, **kwargs: Any) -> tuple[int, Any]:
    body = {"events": [message("hello")]}
    return await server.call("POST", f"{server.public_url}/v1/sessions/{session}/events", key, json=body, **kwargs)


async def read(server: TestServer, session: str, key: str = KEY, **kwargs: Any) -> tuple[int, Any]:
    return await server.call("GET", f"{server.public_url}/v1/sessions/{session}/events", key, **kwargs)


async def test_a_key_works_in_both_headers_until_it_is_revoked(server: TestServer) -> None:
    session = await server.create()
    assert (await send(server, session))[0] == 401
    await grant(server)
    assert (await send(server, session))[0] == 200
    url = f"{server.public_url}/v1/sessions/{session}/events"
    async with server.http.get(url, headers={"X-Api-Key": KEY}) as response:
        assert response.status == 200
        assert response.headers["anthropic-workspace-id"] == workspace_id_for("team-a")
        assert response.headers["anthropic-organization-id"]
    await revoke(server)
    status, answer = await send(server, session)
    assert (status, answer["error"]["type"]) == (401, "authentication_error")


async def test_the_official_sdk_works_with_a_key(server: TestServer) -> None:
    session = await server.create()
    await grant(server)
    async with anthropic.AsyncAnthropic(base_url=server.public_url, api_key=KEY, max_retries=0) as client:
        sent = await client.beta.sessions.events.send(session, events=[message("hello")])  # type: ignore[list-item]  # a plain dict, as users write
        assert [event.type for event in sent.data or []] == ["user.message"]
    async with anthropic.AsyncAnthropic(base_url=server.public_url, api_key="sk-ma-wrong", max_retries=0) as client:
        with pytest.raises(anthropic.AuthenticationError):
            await client.beta.sessions.events.list(session)


async def test_an_expired_key_is_refused(server: TestServer) -> None:
    session = await server.create()
    now = datetime.now(UTC)
    await grant(server, "old", "sk-ma-old", expiresAt=(now - timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ"))
    await grant(server, "new", "sk-ma-new", expiresAt=(now + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ"))
    status, answer = await send(server, session, "sk-ma-old")
    assert status == 401
    assert "expired" in answer["error"]["message"]
    assert (await send(server, session, "sk-ma-new"))[0] == 200


async def test_a_read_only_key_reads_and_does_not_write(server: TestServer) -> None:
    session = await server.create()
    await grant(server, readOnly=True)
    assert (await read(server, session))[0] == 200
    status, answer = await send(server, session)
    assert (status, answer["error"]["type"]) == (403, "permission_error")


async def test_another_namespaces_session_is_not_there(server: TestServer) -> None:
    session = await server.create()
    await grant(server, namespace="team-b")
    for status, answer in (await send(server, session), await read(server, session)):
        assert (status, answer["error"]["type"]) == (404, "not_found_error")


async def test_a_copied_hash_gets_nobodys_requests(server: TestServer) -> None:
    session = await server.create()
    server.kubernetes.api.kube.now = lambda: datetime(2026, 1, 1, tzinfo=UTC)
    await grant(server)
    server.kubernetes.api.kube.now = lambda: datetime(2026, 1, 2, tzinfo=UTC)
    await grant(server, "copy", namespace="team-b")
    assert (await send(server, session))[0] == 200


async def test_the_workspace_header_must_name_the_keys_namespace(server: TestServer) -> None:
    session = await server.create()
    await grant(server)
    for value, expected in (
        ("team-a", 200),
        (workspace_id_for("team-a"), 200),
        ("team-b", 403),
        (workspace_id_for("team-b"), 403),
        ("wrkspc_!", 403),
    ):
        assert (await read(server, session, headers={"anthropic-workspace-id": value}))[0] == expected, value
    asked = {"anthropic-workspace-id": "team-b"}
    assert (await read(server, session, USER_TOKEN, headers=asked))[0] == 404


async def test_a_key_never_reaches_the_kube_apiserver(server: TestServer) -> None:
    session = await server.create()
    await grant(server)
    before = len(server.kubernetes.reviews)
    await send(server, session)
    await send(server, session, "sk-ma-guess")
    assert server.kubernetes.reviews[before:] == []


async def test_who_sent_each_event_is_shown_to_auditors_alone(server: TestServer) -> None:
    session = await server.create("repair-42", {"name": "first", "manager": "argocd-controller", **message("from Git")})
    key_id = await grant(server)
    await send(server, session)
    await send(server, session, USER_TOKEN)
    asked = {"sender": "true"}
    status, answer = await read(server, session, USER_TOKEN, params=asked)
    assert status == 200
    senders = [event["sender"] for event in answer["data"]]
    assert senders[1:] == [
        {"via": "api", "id": key_id, "api_key": "ci", "namespace": "team-a"},
        {"via": "api", "id": "alice"},
    ]
    assert senders[0] == {"via": "spec", "manager": "argocd-controller"}
    assert (await read(server, session, params=asked))[0] == 403
    server.kubernetes.allowed = lambda spec: spec["resourceAttributes"].get("subresource") != "senders"
    assert "sender" not in (await read(server, session, USER_TOKEN))[1]["data"][0]


async def test_keys_are_known_to_a_server_that_starts_while_kubernetes_is_away(tmp_path: Path) -> None:
    async with server_in_process(tmp_path) as first:
        session = await first.create()
        await grant(first)
        await grant(first, "gone", "sk-ma-gone")
        stored = tmp_path / "api-keys.json"
        await until(lambda: stored.exists() and stored.read_bytes().count(b"sha256") == 2)
    assert KEY.encode() not in stored.read_bytes()
    async with fake_kubernetes() as kubernetes, aiohttp.ClientSession() as http:
        kubernetes.down = True
        settings = settings_for(tmp_path, kubernetes)
        async with running_server(settings, on_fatal=lambda error: pytest.fail(repr(error))) as running:
            second = TestServer(
                public_url=running.public_url, internal_url=running.internal_url, kubernetes=kubernetes, http=http
            )
            assert (await send(second, session))[0] == 200
            status, answer = await send(second, session, "sk-ma-unknown")
            assert (status, answer["error"]["type"]) == (503, "api_error"), "it may be new"
            kubernetes.down = False  # none of the keys is there any more
            await until(lambda: running.context.objects.synced)
            await until(lambda: not list(running.context.key_memory.keys))
            assert (await send(second, session))[0] == 401
