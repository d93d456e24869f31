"""Tokens of a session's repositories reach its proxy, and each change of them; what is amiss is said there."""

import json
from typing import Any

from component.operator.test_vaults import CANARY, bearer, held, keep
from support.kube import kind_of
from support.operator_world import World
from support.requirements import requirement

URL = "https://github.com/acme/app"


def repository(key: str = "token", **fields: Any) -> dict[str, Any]:
    token = {"secretKeyRef": {"name": "github", "key": key}}
    return {"type": "github_repository", "url": URL, "authorizationToken": token, **fields}


async def served(world: World, *resources: dict[str, Any], **spec: Any) -> str:
    """Start a session with these resources and return the name of its Deployment."""
    world.session("repair", "Hello.", resources=list(resources), **spec)
    await world.settle()
    [deployment] = world.names("deployments")
    return deployment


@requirement("repositories-token")
async def test_proxy_gets_the_tokens_of_its_sessions_repositories(operated: World) -> None:
    await operated.catalog()
    keep(operated, "github", token=f"{CANARY}\n", broken="two words\nand lines")
    public = {"type": "github_repository", "url": "https://github.com/acme/public"}
    broken = repository("broken", mountPath="/workspace/b")
    lacking = repository("lacking", mountPath="/workspace/c")
    restricted = repository(pushRefs=["refs/heads/agent/*"])
    deployment = await served(operated, public, restricted, broken, lacking)
    first, second, third = held(operated, deployment)["repositories"]
    assert first["id"].startswith("sesrsc_")
    assert first == {"id": first["id"], "url": URL, "push_refs": ["refs/heads/agent/*"], "token": CANARY}
    assert "is no text that a header can carry" in second["problem"]
    assert 'Secret "github" has no key "lacking"' in third["problem"]
    assert held(operated, deployment)["credentials"] == []
    assert CANARY not in json.dumps([change.object for change in operated.kube.history if change.plural != "secrets"])


@requirement("repositories-token", "F23")
async def test_a_changed_or_mended_secret_reaches_a_running_session(operated: World) -> None:
    await operated.catalog()
    deployment = await served(operated, repository())
    (entry,) = held(operated, deployment)["repositories"]
    assert 'Secret "github" not found' in entry["problem"]
    assert operated.condition("sessions", "repair", "Ready")["status"] == "True"
    for token in ("old", "new"):
        keep(operated, "github", token=token)
        await operated.advance(20)
        assert held(operated, deployment)["repositories"][0]["token"] == token
    writes = len([call for call in operated.api.writes() if call.resource == "secrets"])
    await operated.advance(40)
    assert len([call for call in operated.api.writes() if call.resource == "secrets"]) == writes


@requirement("repositories-token")
async def test_a_token_that_is_named_no_more_is_taken_away(operated: World) -> None:
    await operated.catalog()
    keep(operated, "github", token="t")
    operated.create("vaults", "team", {"credentials": [bearer("wiki", "github")]})
    deployment = await served(operated, repository(), vaultRefs=[{"name": "team"}])
    assert len(held(operated, deployment)["repositories"]) == len(held(operated, deployment)["credentials"]) == 1
    public = {"type": "github_repository", "url": URL}
    operated.change("sessions", "repair", {"resources": [public]})
    await operated.settle()
    assert "repositories" not in held(operated, deployment)
    assert len(held(operated, deployment)["credentials"]) == 1


@requirement("repositories-token")
async def test_the_last_credential_of_a_session_is_taken_away_too(operated: World) -> None:
    await operated.catalog()
    keep(operated, "github", token="t")
    deployment = await served(operated, repository())
    operated.change("sessions", "repair", {"resources": [{"type": "github_repository", "url": URL}]})
    await operated.settle()
    assert held(operated, deployment) | {"generation": 0, "session_id": ""} == {
        "session_id": "",
        "generation": 0,
        "credentials": [],
    }


@requirement("repositories-token-condition", "F23", "credentials-fail")
async def test_a_token_whose_secret_is_missing_is_a_condition_until_it_is_mended(operated: World) -> None:
    await operated.catalog()
    await served(operated, repository())
    found = operated.condition("sessions", "repair", "CredentialsReady")
    assert (found["status"], found["reason"]) == ("False", "SecretNotFound")
    assert found["message"].startswith('spec.resources[0].authorizationToken.secretKeyRef.name: Secret "github" not')
    keep(operated, "github", token=CANARY)
    await operated.advance(20)
    assert operated.condition("sessions", "repair", "CredentialsReady")["status"] == "True"
    operated.kube.delete(kind_of("secrets"), "team-a", "github")
    await operated.advance(20)
    found = operated.condition("sessions", "repair", "CredentialsReady")
    assert (found["status"], found["reason"]) == ("False", "SecretNotFound")
    assert operated.condition("sessions", "repair", "Ready")["status"] == "True"
    reasons = [event["reason"] for event in operated.kube.list("events")]
    assert "SecretNotFound" in reasons


@requirement("repositories-token-condition")
async def test_a_session_without_tokens_has_no_such_condition(operated: World) -> None:
    await operated.catalog()
    await served(operated, {"type": "github_repository", "url": URL})
    kinds = [one["type"] for one in operated.kube.list("sessions")[0]["status"]["conditions"]]
    assert "CredentialsReady" not in kinds
