"""A session's files and repositories over the API, with the official SDK: copies, places, and both doors."""

from typing import Any

import anthropic
import pytest

from managed_agents.contracts.api.session_configs import spec_config
from support.kube import Manifest, kind_of
from support.public_sessions import HEADERS, HELLO, NAMESPACE, Shelf, turn
from support.server import TestServer

REPOSITORY: Any = {"type": "github_repository", "url": "https://github.com/acme/app"}


async def upload(client: anthropic.AsyncAnthropic, name: str = "data.csv") -> str:
    return (await client.beta.files.upload(file=(name, b"a,b\n", "text/csv"))).id


async def create(client: anthropic.AsyncAnthropic, shelf: Shelf, *resources: Any) -> str:
    made = await client.beta.sessions.create(
        agent=shelf.agent, environment_id=shelf.environment, resources=list(resources)
    )
    return made.id


async def config(server: TestServer, session: str) -> dict[str, Any]:
    assert server.running is not None
    return await server.running.context.log.config(session)


def stored(server: TestServer) -> Manifest:
    (found,) = server.kube.list("sessions")
    return found


async def test_a_session_gets_copies_at_their_places(
    server: TestServer, client: anthropic.AsyncAnthropic, shelf: Shelf
) -> None:
    file = await upload(client)
    session = await create(
        client,
        shelf,
        {"type": "file", "file_id": file},
        {"type": "file", "file_id": file, "mount_path": "/workspace/data.csv"},
        {**REPOSITORY, "checkout": {"type": "branch", "name": "main"}},
    )
    resources: Any = [item.to_dict(mode="json") async for item in client.beta.sessions.resources.list(session)]
    plain, placed, repository = resources
    assert len({plain["file_id"], placed["file_id"], file}) == 3
    assert plain["mount_path"] == f"/mnt/session/uploads/{plain['file_id']}"
    assert placed["mount_path"] == "/mnt/session/uploads/workspace/data.csv"
    assert (repository["mount_path"], repository["checkout"]) == ("/workspace/app", {"type": "branch", "name": "main"})
    assert all(item["id"].startswith("sesrsc_") for item in resources)
    copy = await client.beta.files.retrieve_metadata(plain["file_id"])
    assert copy.scope is not None
    assert copy.scope.id == session
    shown = await client.beta.sessions.retrieve(session)
    assert [item.to_dict(mode="json") for item in shown.resources] == resources
    assert [entry["type"] for entry in stored(server)["spec"]["resources"]] == ["file", "file", "github_repository"]


async def test_files_come_and_go_while_the_session_runs(
    server: TestServer, client: anthropic.AsyncAnthropic, shelf: Shelf
) -> None:
    first, second = await upload(client), await upload(client, "more.csv")
    session = await create(client, shelf, {"type": "file", "file_id": first})
    await client.beta.sessions.events.send(session, events=[HELLO])
    resources = client.beta.sessions.resources
    (before,) = [item async for item in resources.list(session)]
    added: Any = await resources.add(session, type="file", file_id=second, mount_path="more.csv")
    assert (added.mount_path, added.file_id != second) == ("/mnt/session/uploads/more.csv", True)
    listed = [item.to_dict(mode="json") async for item in resources.list(session)]
    assert listed == [before.to_dict(mode="json"), added.to_dict(mode="json")]
    fetched = await resources.retrieve(added.id, session_id=session)
    assert fetched.to_dict(mode="json") == added.to_dict(mode="json")
    deleted = await resources.delete(before.to_dict()["id"], session_id=session)  # type: ignore[arg-type]  # a text
    assert deleted.to_dict() == {"id": before.to_dict()["id"], "type": "session_resource_deleted"}
    assert [entry["fileId"] for entry in stored(server)["spec"]["resources"]] == [second]
    assert [entry["id"] for entry in (await config(server, session))["resources"]] == [added.id]
    with pytest.raises(anthropic.NotFoundError):
        await client.beta.files.retrieve_metadata(before.to_dict()["file_id"])  # type: ignore[arg-type]  # a text
    assert (await client.beta.files.retrieve_metadata(first)).id == first
    with pytest.raises(anthropic.NotFoundError):
        await resources.retrieve(before.to_dict()["id"], session_id=session)  # type: ignore[arg-type]  # a text


async def test_what_may_not_change_is_refused(
    server: TestServer, client: anthropic.AsyncAnthropic, shelf: Shelf
) -> None:
    file = await upload(client)
    session = await create(client, shelf, {"type": "file", "file_id": file}, REPOSITORY)
    resources = client.beta.sessions.resources
    _, repository = [item.to_dict() async for item in resources.list(session)]
    repository_id = str(repository["id"])
    with pytest.raises(anthropic.BadRequestError, match="stays for the life"):
        await resources.delete(repository_id, session_id=session)
    with pytest.raises(anthropic.BadRequestError, match="mount_path"):
        await resources.add(session, type="file", file_id=file)
    with pytest.raises(anthropic.BadRequestError, match="file_none"):
        await resources.add(session, type="file", file_id="file_none")
    status, answer = await server.user("POST", f"/sessions/{session}/resources", REPOSITORY, headers=HEADERS)
    assert (status, answer["error"]["type"]) == (400, "invalid_request_error")
    twice = [
        {"type": "file", "file_id": file, "mount_path": "a"},
        {"type": "file", "file_id": file, "mount_path": "/a"},
    ]
    with pytest.raises(anthropic.BadRequestError, match=r"resources\.1\.mount_path"):
        await create(client, shelf, *twice)


async def test_resources_are_paged_only_when_asked(
    server: TestServer, client: anthropic.AsyncAnthropic, shelf: Shelf
) -> None:
    file = await upload(client)
    given = [{"type": "file", "file_id": file, "mount_path": f"f{number}"} for number in range(5)]
    session = await create(client, shelf, *given)
    whole = await client.beta.sessions.resources.list(session)
    assert (len(whole.data), whole.next_page) == (5, None)
    first = await client.beta.sessions.resources.list(session, limit=2)
    assert (len(first.data), first.next_page is not None) == (2, True)
    paged = [item async for item in client.beta.sessions.resources.list(session, limit=2)]
    assert [item.to_dict() for item in paged] == [item.to_dict() for item in whole.data]
    status, _ = await server.user("GET", f"/sessions/{session}/resources?limit=1001", headers=HEADERS)
    assert status == 400


async def test_a_file_added_by_kubectl_appears_and_keeps_the_others(
    server: TestServer, client: anthropic.AsyncAnthropic, shelf: Shelf
) -> None:
    first, second = await upload(client), await upload(client, "more.csv")
    session = await create(client, shelf, {"type": "file", "file_id": first})
    before = (await config(server, session))["resources"]
    resources = [{"type": "file", "fileId": second}, {"type": "file", "fileId": first}]
    name = stored(server)["metadata"]["name"]
    manifest = server.kube.merge(kind_of("sessions"), NAMESPACE, name, {"spec": {"resources": resources}})
    spoken = spec_config(manifest["spec"], uid=manifest["metadata"]["uid"], created_at="2026-01-01T00:00:00Z")
    body = {"config": {**await config(server, session), **spoken, "generation": 2}, "events": []}
    assert (await server.operator("PUT", f"/sessions/{session}", body))[0] == 200
    after = (await config(server, session))["resources"]
    assert after[1:] == before
    assert after[0]["source_file_id"] == second
    assert (await server.operator("PUT", f"/sessions/{session}", body))[0] == 200
    assert (await config(server, session))["resources"] == after


async def test_initial_events_may_name_files_that_are_there(client: anthropic.AsyncAnthropic, shelf: Shelf) -> None:
    file = await upload(client, "report.txt")

    def asking(file_id: str) -> Any:
        document = {"type": "document", "source": {"type": "file", "file_id": file_id}}
        return {"type": "user.message", "content": [{"type": "text", "text": "Read."}, document]}

    body: Any = {"agent": shelf.agent, "environment_id": shelf.environment}
    made = await client.beta.sessions.create(**body, initial_events=[asking(file)])
    assert made.status == "running"
    with pytest.raises(anthropic.BadRequestError, match=r"initial_events\.0\.content\.1\.source\.file_id"):
        await client.beta.sessions.create(**body, initial_events=[asking("file_none")])
    many = [asking(file)["content"][1]] * 101
    message: Any = {"type": "user.message", "content": [{"type": "text", "text": "Read."}, *many]}
    with pytest.raises(anthropic.BadRequestError, match="at most 100"):
        await client.beta.sessions.create(**body, initial_events=[message])


async def test_deleting_a_session_deletes_its_copies_alone(
    server: TestServer, client: anthropic.AsyncAnthropic, shelf: Shelf
) -> None:
    file = await upload(client)
    session = await create(client, shelf, {"type": "file", "file_id": file})
    copy = (await config(server, session))["resources"][0]["file_id"]
    await turn(server, session)
    await client.beta.sessions.delete(session)
    with pytest.raises(anthropic.NotFoundError):
        await client.beta.files.retrieve_metadata(copy)
    assert (await client.beta.files.retrieve_metadata(file)).id == file
