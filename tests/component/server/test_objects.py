"""The custom resources that a server follows: found by id, created under free names, changed without losing edits."""

import asyncio
from typing import Any

import pytest

from managed_agents.contracts.errors import ManagedAgentsError, NotFoundError, RejectedError, RetryableError
from managed_agents.kube.resources import Manifest
from managed_agents.server.services.collection import Collection, name_for
from managed_agents.server.services.errors import ForbiddenError
from support.kube import ApiError, kind_of
from support.server import WAIT_SECONDS, TestServer

AGENT = kind_of("agents")
SPEC: dict[str, Any] = {"model": {"id": "simulated"}}


@pytest.fixture
def agents(server: TestServer) -> Collection:
    return server.objects.agents


async def known(agents: Collection, namespace: str, name: str) -> Manifest:
    """Wait until the server's watch has brought an object."""
    changed = asyncio.Event()
    agents.reflector.listen(lambda *_: changed.set())
    async with asyncio.timeout(WAIT_SECONDS):
        while (found := agents.by_name(namespace, name)) is None:
            await changed.wait()
            changed.clear()
    return found


async def test_an_applied_object_is_found_by_the_id_of_its_uid(server: TestServer, agents: Collection) -> None:
    made = server.kube.create(AGENT, "team-b", {"metadata": {"name": "bot"}, "spec": SPEC})
    found = await known(agents, "team-b", "bot")
    object_id = "agent_" + made["metadata"]["uid"].replace("-", "")
    assert agents.id_of(found) == object_id
    assert agents.get(object_id)["metadata"]["uid"] == made["metadata"]["uid"]
    assert agents.find("env_" + made["metadata"]["uid"].replace("-", "")) is None
    with pytest.raises(NotFoundError):
        agents.get("agent_" + "0" * 32)


async def test_an_annotated_id_takes_the_place_of_the_uids(server: TestServer, agents: Collection) -> None:
    metadata = {"name": "old", "annotations": {"managedagents.dev/id": "agent_fromabackup"}}
    made = server.kube.create(AGENT, "team-b", {"metadata": metadata, "spec": SPEC})
    await known(agents, "team-b", "old")
    assert agents.get("agent_fromabackup")["metadata"]["name"] == "old"
    assert agents.find("agent_" + made["metadata"]["uid"].replace("-", "")) is None


async def test_creation_is_read_at_once_and_finds_a_free_name(server: TestServer, agents: Collection) -> None:
    server.kubernetes.api.drop_watch = lambda _: True
    suffixes = iter(("aaaaaa", "aaaaaa", "bbbbbb"))
    agents.suffix = lambda: next(suffixes)
    first = await agents.create("team-a", SPEC, title="Repair Bot!")
    second = await agents.create("team-a", SPEC, title="Repair Bot!")
    assert [item["metadata"]["name"] for item in (first, second)] == ["repair-bot-aaaaaa", "repair-bot-bbbbbb"]
    assert agents.get(agents.id_of(second))["spec"] == SPEC


def test_names_are_those_of_kubernetes() -> None:
    assert name_for("Ünïcödé ... Bot", "Agent", "x7k2pq") == "n-c-d-bot-x7k2pq"
    assert name_for("漢字", "Environment", "x7k2pq") == "environment-x7k2pq"
    long = name_for("a" * 32 + "-" + "b" * 90, "Agent", "x7k2pq")
    assert (len(long), long) == (39, "a" * 32 + "-x7k2pq")


async def test_a_rivals_edit_is_kept(server: TestServer, agents: Collection) -> None:
    made = await agents.create("team-a", SPEC, title="bot")
    name = made["metadata"]["name"]
    seen: list[str | None] = []

    def decide(newest: Manifest) -> Manifest:
        if not seen:
            server.kube.merge(AGENT, "team-a", name, {"spec": {"system": "by kubectl"}})
        seen.append(newest["spec"].get("system"))
        return {"spec": {"description": "by the API"}}

    changed = await agents.change(made, decide)
    assert seen == [None, "by kubectl"]
    assert changed["spec"] == SPEC | {"system": "by kubectl", "description": "by the API"}


async def test_a_deleted_object_is_gone_and_its_names_heir_is_another(server: TestServer, agents: Collection) -> None:
    made = await agents.create("team-a", SPEC, title="bot")
    await agents.delete(made)
    await agents.delete(made)
    with pytest.raises(NotFoundError):
        agents.get(agents.id_of(made))
    server.kube.create(AGENT, "team-a", {"metadata": {"name": made["metadata"]["name"]}, "spec": SPEC})
    await known(agents, "team-a", made["metadata"]["name"])
    with pytest.raises(NotFoundError):
        await agents.change(made, lambda _: {"spec": {"system": "for the dead"}})


_QUOTA = 'agents.managedagents.dev "bot" is forbidden: exceeded quota: few, requested: count/agents=1'
_POLICY = "ValidatingAdmissionPolicy 'models' with binding 'models' denied request: model is not allowed"
_RBAC = 'agents.managedagents.dev is forbidden: User "system:serviceaccount:x:y" cannot create resource "agents"'


@pytest.mark.parametrize(
    ("refusal", "expected", "message"),
    [
        (ApiError(403, "Forbidden", _QUOTA), ForbiddenError, f"^{_QUOTA}"),
        (ApiError(422, "Invalid", _POLICY), RejectedError, f"^{_POLICY}"),
        (ApiError(403, "Forbidden", _POLICY), RejectedError, f"^{_POLICY}"),
        (ApiError(403, "Forbidden", _RBAC), ManagedAgentsError, "administrator"),
        (ApiError(503, "ServiceUnavailable", "away"), RetryableError, "away"),
    ],
)
async def test_refusals_speak_the_words_of_the_api(
    server: TestServer, agents: Collection, refusal: ApiError, expected: type[ManagedAgentsError], message: str
) -> None:
    server.kubernetes.api.fail("create", "agents", refusal)
    with pytest.raises(ManagedAgentsError, match=message) as raised:
        await agents.create("team-a", SPEC, title="bot")
    assert type(raised.value) is expected
    assert server.kube.list("agents") == []


async def test_not_ready_before_the_objects_are_read(server: TestServer, agents: Collection) -> None:
    status, answer = await server.call("GET", f"{server.public_url}/readyz", "")
    assert (status, answer) == (200, {"status": "ok"})
    agents.reflector.synced.clear()
    status, answer = await server.call("GET", f"{server.public_url}/readyz", "")
    assert (status, answer) == (503, {"status": "reading_objects"})
    with pytest.raises(RetryableError):
        agents.get("agent_" + "0" * 32)


async def test_of_a_session_its_messages_are_not_kept_in_memory(server: TestServer) -> None:
    references = {"agentRef": {"name": "bot"}, "environmentRef": {"name": "python"}}
    body = {"metadata": {"name": "s"}, "spec": {**references, "events": [{"name": "a", "type": "user.message"}]}}
    server.kube.create(kind_of("sessions"), "team-a", body)
    server.kube.set_status("sessions", "team-a", "s", phase="Idle", lastMessage={"text": "long"})
    kept = await known(server.objects.sessions, "team-a", "s")
    assert kept["spec"] == references
    assert "lastMessage" not in kept.get("status", {})
