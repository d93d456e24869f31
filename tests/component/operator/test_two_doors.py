"""One session behind two doors: what the API makes the operator runs, what kubectl applies the API shows."""

from typing import Any

from managed_agents.operator.keys import Key
from support.kube import Manifest, kind_of
from support.operator_world import NAMESPACE, World, session_id
from support.requirements import requirement
from support.waiting import until

HEADERS = {"anthropic-workspace-id": NAMESPACE}
SESSIONS = kind_of("sessions")


async def api(operated: World, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    return await operated.server.user(method, path, body, headers=HEADERS)


async def catalog(operated: World) -> dict[str, str]:
    """Make the catalog and return what a session created by the API refers to."""
    await operated.catalog()
    objects = operated.server.objects
    await until(lambda: objects.environments.by_name(NAMESPACE, "python") is not None)
    await until(lambda: objects.agents.by_name(NAMESPACE, "bot") is not None)
    await until(lambda: objects.model_providers.by_name(NAMESPACE, "simulated") is not None)
    agent, environment = operated.get("agents", "bot"), operated.get("environments", "python")
    return {
        "agent": "agent_" + agent["metadata"]["uid"].replace("-", ""),
        "environment_id": "env_" + environment["metadata"]["uid"].replace("-", ""),
    }


def only_session(operated: World) -> Manifest:
    (found,) = operated.kube.list("sessions")
    return found


async def events(operated: World, session: str) -> list[dict[str, Any]]:
    status, answer = await api(operated, "GET", f"/sessions/{session}/events")
    assert status == 200, answer
    found: list[dict[str, Any]] = answer["data"]
    return found


def said(text: str) -> dict[str, Any]:
    return {"type": "user.message", "content": [{"type": "text", "text": text}]}


@requirement("two-doors")
async def test_a_session_of_the_api_runs_and_its_report_changes_nothing(operated: World) -> None:
    body = {**await catalog(operated), "title": "T", "metadata": {"a": "1"}, "initial_events": [said("Go.")]}
    status, made = await api(operated, "POST", "/sessions", body)
    assert status == 200, made
    log = operated.server.running.context.log  # type: ignore[union-attr]  # in this process
    before = await log.config(made["id"])
    await operated.settle()
    assert await log.config(made["id"]) == before
    assert [event["type"] for event in await events(operated, made["id"])] == ["user.message"]
    name = only_session(operated)["metadata"]["name"]
    assert operated.condition("sessions", name, "Ready")["reason"] == "Accepted"
    await operated.turn(name)
    status, shown = await api(operated, "GET", f"/sessions/{made['id']}")
    assert (status, shown["status"], shown["created_at"]) == (200, "idle", made["created_at"])


async def test_an_override_of_the_api_is_the_operators_too(operated: World) -> None:
    references = await catalog(operated)
    tool = {
        "type": "custom",
        "name": "look",
        "description": "Looks.",
        "input_schema": {"type": "object", "properties": {"fooBar": {"type": "string"}}},
    }
    overrides = {"type": "agent_with_overrides", "id": references["agent"], "system": None, "tools": [tool]}
    status, made = await api(operated, "POST", "/sessions", {**references, "agent": overrides})
    assert (status, made["agent"]["tools"], made["agent"]["system"]) == (200, [tool], None)
    await operated.settle()
    status, changed = await api(operated, "POST", f"/sessions/{made['id']}", {"agent": {"tools": []}})
    assert (status, changed["agent"]["tools"]) == (200, [])
    await operated.settle()
    assert [event["type"] for event in await events(operated, made["id"])] == ["session.updated"]
    status, shown = await api(operated, "GET", f"/sessions/{made['id']}")
    assert shown["agent"] == changed["agent"]


@requirement("sessions-agree")
async def test_a_change_by_either_door_is_told_once(operated: World) -> None:
    _, made = await api(operated, "POST", "/sessions", await catalog(operated))
    await operated.settle()
    name = only_session(operated)["metadata"]["name"]
    await api(operated, "POST", f"/sessions/{made['id']}", {"title": "By API", "metadata": {"k": "v"}})
    await operated.settle()
    operated.change("sessions", name, {"title": "By kubectl"})
    await operated.settle()
    titles = [event.get("title") for event in await events(operated, made["id"])]
    assert titles == ["By API", "By kubectl"]
    assert (await api(operated, "GET", f"/sessions/{made['id']}"))[1]["title"] == "By kubectl"


@requirement("sessions-agree")
async def test_an_older_report_of_the_operator_does_not_revert_a_change(operated: World) -> None:
    _, made = await api(operated, "POST", "/sessions", await catalog(operated))
    await operated.settle()
    operated.deaf = True
    await api(operated, "POST", f"/sessions/{made['id']}", {"title": "New"})
    name = only_session(operated)["metadata"]["name"]
    operated.operator.sessions.forget_server()  # so that it reports its old view once more
    operated.operator.queue.add(Key("Session", NAMESPACE, name))
    await operated.settle()
    assert (await api(operated, "GET", f"/sessions/{made['id']}"))[1]["title"] == "New"
    assert len(await events(operated, made["id"])) == 1


async def test_an_applied_session_has_the_id_of_its_uid_and_obeys_the_api(operated: World) -> None:
    await catalog(operated)
    operated.session("repair", "Make it pass.", title="Applied")
    await operated.settle()
    known = session_id(operated.get("sessions", "repair"))
    await until(lambda: operated.server.objects.sessions.find(known) is not None)
    status, shown = await api(operated, "GET", f"/sessions/{known}")
    assert (status, shown["status"], shown["title"]) == (200, "running", "Applied")
    assert (await api(operated, "DELETE", f"/sessions/{known}"))[0] == 400
    assert (await api(operated, "POST", f"/sessions/{known}/archive"))[0] == 400
    await operated.turn()
    status, archived = await api(operated, "POST", f"/sessions/{known}/archive")
    assert (status, archived["status"]) == (200, "terminated")
    await operated.settle()
    await operated.pull()
    assert operated.get("sessions", "repair")["status"]["phase"] == "Terminated"
    again = (await api(operated, "GET", f"/sessions/{known}"))[1]
    assert (again["archived_at"], again["stats"]["duration_seconds"]) == (
        archived["archived_at"],
        archived["stats"]["duration_seconds"],
    )


@requirement("two-doors")
async def test_delete_by_the_api_cleans_up_everything(operated: World) -> None:
    references = await catalog(operated)
    _, made = await api(operated, "POST", "/sessions", {**references, "initial_events": [said("Go.")]})
    await operated.settle()
    name = only_session(operated)["metadata"]["name"]
    await operated.turn(name)
    status, answer = await api(operated, "DELETE", f"/sessions/{made['id']}")
    assert (status, answer) == (200, {"id": made["id"], "type": "session_deleted"})
    for path in ("", "/events", "/threads", "/resources"):
        assert (await api(operated, "GET", f"/sessions/{made['id']}{path}"))[0] == 404, path
    for _ in range(5):
        await operated.advance(2)
    assert operated.kube.list("sessions") == []
    assert operated.names("deployments") == []
    assert (await api(operated, "GET", "/sessions"))[1]["data"] == []


@requirement("F27")
async def test_kubectl_may_delete_a_running_session(operated: World) -> None:
    references = await catalog(operated)
    _, made = await api(operated, "POST", "/sessions", {**references, "initial_events": [said("Go.")]})
    await operated.settle()
    name = only_session(operated)["metadata"]["name"]
    await operated.turn(name, ends=False)
    assert (await api(operated, "DELETE", f"/sessions/{made['id']}"))[0] == 400
    operated.kube.delete(SESSIONS, NAMESPACE, name)
    for _ in range(5):
        await operated.advance(2)
    assert operated.kube.list("sessions") == []
    await until(lambda: operated.server.objects.sessions.find(made["id"]) is None)
    assert (await api(operated, "GET", f"/sessions/{made['id']}"))[0] == 404


async def test_a_session_that_failed_is_terminated_and_not_archived(operated: World) -> None:
    await catalog(operated)
    operated.session("repair", "Make it pass.")
    await operated.settle()
    turn = await operated.turn(ends=False)
    await turn.emit({"id": "sevt_" + "0" * 30, "type": "session.status_terminated"})
    await operated.pull()
    await operated.settle()
    status, shown = await api(operated, "GET", f"/sessions/{turn.session_id}")
    assert (status, shown["status"], shown["archived_at"]) == (200, "terminated", None)


async def test_an_applied_file_that_is_not_there_is_a_condition(operated: World) -> None:
    await catalog(operated)
    operated.session("repair", resources=[{"type": "file", "fileId": "file_none"}])
    await operated.settle()
    condition = operated.condition("sessions", "repair", "Ready")
    assert (condition["status"], condition["reason"]) == ("False", "Refused")
    assert "file_none" in condition["message"]
