"""Tokens of repositories over the API with the official SDK: they go into a Secret and never come out again."""

import base64
import json
from typing import Any

import anthropic
import pytest

from support.kube import ApiError, Manifest, kind_of
from support.public_sessions import HEADERS, HELLO, NAMESPACE, Shelf, session_spec
from support.requirements import requirement
from support.server import TestServer
from support.waiting import until

CANARY = "canary-9c2b"
URL = "https://github.com/acme/app"
REPOSITORY: Any = {"type": "github_repository", "url": URL, "authorization_token": CANARY}


async def create(client: anthropic.AsyncAnthropic, shelf: Shelf, *resources: Any, **fields: Any) -> str:
    made = await client.beta.sessions.create(
        agent=shelf.agent, environment_id=shelf.environment, resources=list(resources), **fields
    )
    return made.id


def stored(server: TestServer, plural: str = "sessions") -> Manifest:
    (found,) = server.kube.list(plural)
    return found


def held(server: TestServer) -> list[str]:
    """Return the tokens in the session's Secret."""
    data = stored(server, "secrets").get("data") or {}
    return [base64.b64decode(value).decode() for value in data.values()]


async def only(client: anthropic.AsyncAnthropic, session: str) -> Any:
    """Return the session's one resource."""
    (found,) = [item async for item in client.beta.sessions.resources.list(session)]
    return found


async def everything(server: TestServer, client: anthropic.AsyncAnthropic, session: str) -> str:
    """Return all that anybody may read: the API's views, the objects but the Secret, and the log's config."""
    assert server.running is not None
    views = [
        await client.beta.sessions.retrieve(session),
        *[item async for item in client.beta.sessions.resources.list(session)],
        *[item async for item in client.beta.sessions.events.list(session)],
    ]
    config = await server.running.context.log.config(session)
    objects = [change.object for change in server.kube.history if change.plural != "secrets"]
    return json.dumps([[view.to_dict(mode="json") for view in views], config, objects])


@requirement("repositories-token-write-only", "A30")
async def test_a_token_is_kept_in_a_secret_of_its_session_and_never_shown(
    server: TestServer, client: anthropic.AsyncAnthropic, shelf: Shelf
) -> None:
    session = await create(client, shelf, REPOSITORY, initial_events=[HELLO])
    manifest, secret = stored(server), stored(server, "secrets")
    name = f"ma-repository.{manifest['metadata']['name']}"
    (entry,) = manifest["spec"]["resources"]
    reference = entry["authorizationToken"]["secretKeyRef"]
    assert (reference["name"], secret["metadata"]["name"]) == (name, name)
    assert list(secret["data"]) == [reference["key"]]
    assert held(server) == [CANARY]
    assert [owner["uid"] for owner in secret["metadata"]["ownerReferences"]] == [manifest["metadata"]["uid"]]
    assert secret["metadata"]["labels"]["managedagents.dev/session"] == manifest["metadata"]["name"]
    assert server.running is not None
    (config,) = (await server.running.context.log.config(session))["resources"]
    assert (config["id"], config["has_token"]) == ((await only(client, session)).id, True)
    assert CANARY not in await everything(server, client, session)
    reads = [
        call
        for call in server.kubernetes.api.calls
        if call.resource == "secrets" and call.verb in {"get", "list", "watch"}
    ]
    assert reads == []


@requirement("repositories-token-write-only", "repositories-token")
async def test_a_token_is_replaced_in_a_living_session(
    server: TestServer, client: anthropic.AsyncAnthropic, shelf: Shelf
) -> None:
    session = await create(client, shelf, REPOSITORY)
    resources = client.beta.sessions.resources
    before: Any = await only(client, session)
    generation = stored(server)["metadata"]["generation"]
    after: Any = await resources.update(before.id, session_id=session, authorization_token=f"{CANARY}-2")
    assert after.to_dict() == before.to_dict()
    assert held(server) == [f"{CANARY}-2"]
    assert stored(server)["metadata"]["generation"] == generation
    server.kube.delete(kind_of("secrets"), NAMESPACE, stored(server, "secrets")["metadata"]["name"])
    await resources.update(before.id, session_id=session, authorization_token=f"{CANARY}-3")
    assert held(server) == [f"{CANARY}-3"]
    assert stored(server, "secrets")["metadata"]["ownerReferences"]
    assert CANARY not in await everything(server, client, session)


@requirement("repositories-token")
async def test_a_public_repository_can_get_its_first_token(
    server: TestServer, client: anthropic.AsyncAnthropic, shelf: Shelf
) -> None:
    session = await create(client, shelf, {"type": "github_repository", "url": URL})
    resources = client.beta.sessions.resources
    before: Any = await only(client, session)
    assert server.kube.list("secrets") == []
    after: Any = await resources.update(before.id, session_id=session, authorization_token=CANARY)
    assert (after.id, held(server)) == (before.id, [CANARY])
    assert server.running is not None
    (entry,) = (await server.running.context.log.config(session))["resources"]
    assert (entry["id"], entry["has_token"]) == (before.id, True)
    (named,) = stored(server)["spec"]["resources"]
    assert named["authorizationToken"]["secretKeyRef"]["name"] == stored(server, "secrets")["metadata"]["name"]


@requirement("repositories-token-write-only")
async def test_a_token_of_an_applied_session_is_changed_where_it_is_kept(
    server: TestServer, client: anthropic.AsyncAnthropic, shelf: Shelf
) -> None:
    token = {"secretKeyRef": {"name": "github", "key": "token"}}
    entry = {"type": "github_repository", "url": URL, "authorizationToken": token}
    spec = session_spec(resources=[entry])
    made = server.kube.create(kind_of("sessions"), NAMESPACE, {"metadata": {"name": "applied"}, "spec": spec})
    session = "sesn_" + made["metadata"]["uid"].replace("-", "")
    await until(lambda: server.objects.sessions.find(session) is not None)
    shown = await client.beta.sessions.retrieve(session)
    (resource,) = shown.resources
    with pytest.raises(anthropic.BadRequestError, match='kept in Secret "github"; change it there'):
        await client.beta.sessions.resources.update(
            str(resource.to_dict()["id"]), session_id=session, authorization_token=CANARY
        )
    assert server.kube.list("secrets") == []


@requirement("repositories-token-write-only", "A30")
@pytest.mark.parametrize("token", ["", "two words-canary-9c2b", f"{CANARY}\n", CANARY * 500, 7, {"canary-9c2b": 1}])
async def test_a_bad_token_is_refused_by_its_path_and_not_repeated(
    server: TestServer, shelf: Shelf, token: Any
) -> None:
    body = {"agent": shelf.agent, "environment_id": shelf.environment}
    body["resources"] = [{**REPOSITORY, "authorization_token": token}]  # type: ignore[assignment]  # as JSON
    status, answer = await server.user("POST", "/sessions", body, headers=HEADERS)
    assert (status, answer["error"]["type"]) == (400, "invalid_request_error")
    assert "authorization_token" in answer["error"]["message"]
    assert CANARY not in answer["error"]["message"]
    assert server.kube.list("secrets") == server.kube.list("sessions") == []


@requirement("repositories-token-write-only")
async def test_a_session_that_does_not_come_to_be_leaves_no_token(
    server: TestServer, client: anthropic.AsyncAnthropic, shelf: Shelf
) -> None:
    server.kubernetes.api.fail("create", "sessions", ApiError(403, "Forbidden", "exceeded quota: sessions"), times=9)
    with pytest.raises(anthropic.PermissionDeniedError):
        await create(client, shelf, REPOSITORY)
    left = stored(server, "secrets")
    assert not left.get("data")
    (owner,) = left["metadata"]["ownerReferences"]
    assert (owner["kind"], server.kube.list("sessions")) == ("Session", [])  # nobody: garbage collection deletes it
    server.kubernetes.api.faults.clear()
    server.kubernetes.api.fail("create", "secrets", ApiError(403, "Forbidden", "not yours"), times=9)
    with pytest.raises(anthropic.PermissionDeniedError, match="an administrator applies manifests/tenant"):
        await create(client, shelf, REPOSITORY)
    assert server.kube.list("sessions") == []


@requirement("repositories-token-write-only", "A30")
async def test_a_secret_whose_adoption_failed_goes_with_its_session_all_the_same(
    server: TestServer, client: anthropic.AsyncAnthropic, shelf: Shelf
) -> None:
    server.kubernetes.api.fail("patch", "secrets", ApiError(403, "Forbidden", "not now"), times=9)
    session = await create(client, shelf, REPOSITORY)
    server.kubernetes.api.faults.clear()
    assert "ownerReferences" not in stored(server, "secrets")["metadata"]
    assert held(server) == [CANARY]
    await client.beta.sessions.delete(session)
    assert held(server) == []
    (owner,) = stored(server, "secrets")["metadata"]["ownerReferences"]
    assert owner["kind"] == "Session"  # one that is not there: garbage collection deletes it
