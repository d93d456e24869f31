"""Creation of sessions is one or none: refusals, lost answers, crashes between the steps, and both doors at once."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from managed_agents.contracts.clock import rfc3339
from managed_agents.eventlog.intents import Intent
from managed_agents.kube.resources import Manifest
from managed_agents.server.context import Context
from managed_agents.server.services.session_create import SessionCreator
from support.kube import ApiError, FakeKube, kind_of
from support.public_sessions import (
    HEADERS,
    HELLO,
    NAMESPACE,
    Shelf,
    apply,
    event_types,
    session_spec,
    stock,
    uid_for,
)
from support.requirements import requirement
from support.server import TestServer, server_in_process
from support.waiting import until

KEY = "0123456789abcdef"
NAME = "repair-x7k2pq"


def context(server: TestServer) -> Context:
    assert server.running is not None
    return server.running.context


async def create(
    server: TestServer, shelf: Shelf, headers: Mapping[str, str] = HEADERS, **changes: Any
) -> tuple[int, Any]:
    body = {"agent": shelf.agent, "environment_id": shelf.environment, "initial_events": [HELLO], **changes}
    return await server.user("POST", "/sessions", body, headers=dict(headers))


async def listed(server: TestServer) -> list[str]:
    status, answer = await server.user("GET", "/sessions?limit=100", headers=HEADERS)
    assert status == 200, answer
    return [session["id"] for session in answer["data"]]


def names(server: TestServer) -> set[str]:
    return {item["metadata"]["name"] for item in server.kube.list("sessions")}


def annotated(kube: FakeKube) -> Manifest:
    """The object that a creation made before the server died."""
    return apply(kube, "sessions", NAME, session_spec(), annotations={"managedagents.dev/intent": KEY})


def intent(*, age: timedelta = timedelta(0), **changes: Any) -> Intent:
    config: dict[str, Any] = {
        "title": "x",
        "metadata": {},
        "resources": [],
        "budget": None,
        "agent": {"type": "agent", "id": "agent_1", "version": 1, "name": "bot", "model": {"id": "simulated"}},
        "environment": {"id": "env_1", "name": "python", "config": {"type": "cloud"}},
        "created_at": "2026-01-02T03:04:05.250000Z",
    }
    values: dict[str, Any] = {
        "key": KEY,
        "namespace": NAMESPACE,
        "name": NAME,
        "created_at": rfc3339(datetime.now(UTC) - age),
        "config": config,
        "events": (HELLO,),
        "sender": {"via": "api", "id": "alice"},
    }
    return Intent(**values | changes)


@requirement("sessions-admitted")
async def test_of_100_creations_admission_refuses_one(server: TestServer, shelf: Shelf) -> None:
    server.kubernetes.api.fail("create", "sessions", ApiError(403, "Forbidden", "ValidatingAdmissionPolicy: not today"))
    answers = await asyncio.gather(*(create(server, shelf, title=f"n {number}") for number in range(100)))
    refused = [answer for status, answer in answers if status != 200]
    assert [(answer["type"], answer["error"]["type"]) for answer in refused] == [("error", "invalid_request_error")]
    assert "not today" in refused[0]["error"]["message"]
    made = {answer["id"] for status, answer in answers if status == 200}
    assert len(made) == 99
    assert set(await listed(server)) == made
    assert len(names(server)) == 99
    assert await context(server).log.intents() == []


async def test_a_quota_is_a_403_and_leaves_nothing(server: TestServer, shelf: Shelf) -> None:
    server.kubernetes.api.fail("create", "sessions", ApiError(403, "Forbidden", "exceeded quota: sessions"))
    status, answer = await create(server, shelf)
    assert (status, answer["error"]["type"]) == (403, "permission_error")
    assert await listed(server) == []
    assert await context(server).log.intents() == []


@requirement("sessions-once")
async def test_a_lost_answer_is_looked_up(server: TestServer, shelf: Shelf) -> None:
    lost = ApiError(504, "Timeout", "request did not complete")
    server.kubernetes.api.fail("create", "sessions", lost, after_commit=True)
    status, answer = await create(server, shelf)
    assert status == 200
    assert await listed(server) == [answer["id"]]
    assert await event_types(server, answer["id"]) == ["user.message"]


@requirement("sessions-once")
async def test_a_failed_attempt_is_answered_as_such_and_a_late_object_goes(server: TestServer, shelf: Shelf) -> None:
    server.kubernetes.api.fail("create", "sessions", ApiError(500, "InternalError", "etcd is slow"))
    status, _ = await create(server, shelf)
    assert status == 503
    (left,) = await context(server).log.intents()
    assert left.state == "abandoned"
    apply(server.kube, "sessions", left.name, session_spec(), annotations={"managedagents.dev/intent": left.key})
    await until(lambda: server.objects.sessions.by_name(NAMESPACE, left.name) is not None)
    await context(server).intents.sweep()
    assert names(server) == set()
    assert await context(server).log.intents() == []
    await until(lambda: server.objects.sessions.by_name(NAMESPACE, left.name) is None)
    assert await listed(server) == []


@requirement("sessions-once")
async def test_a_session_that_the_operator_saw_first_is_answered(
    server: TestServer, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.kubernetes.api.fail("create", "sessions", ApiError(504, "Timeout", "lost"), after_commit=True)

    async def reported(_: SessionCreator, made: Intent) -> None:
        """The operator reports the object while this server cannot reach the kube-apiserver."""
        uid = server.kube.get("sessions", NAMESPACE, made.name)["metadata"]["uid"]
        identity = {"id": "sesn_" + uid.replace("-", ""), "uid": uid, "namespace": NAMESPACE, "name": made.name}
        body = {"config": {**made.config, **identity, "generation": 1}, "events": [], "intent": made.key}
        assert (await server.operator("PUT", f"/sessions/{identity['id']}", body))[0] == 200

    monkeypatch.setattr(SessionCreator, "_look", reported)
    status, answer = await create(server, shelf)
    assert (status, answer["status"]) == (200, "running")
    assert await listed(server) == [answer["id"]]
    assert await context(server).log.intents() == []


async def test_a_taken_name_is_replaced_by_another(server: TestServer, shelf: Shelf) -> None:
    apply(server.kube, "sessions", "hello-aaaaaa", session_spec())
    suffixes = iter(("aaaaaa", "bbbbbb"))
    server.objects.sessions.suffix = lambda: next(suffixes)
    status, _ = await create(server, shelf, title="Hello")
    assert status == 200
    assert names(server) == {"hello-aaaaaa", "hello-bbbbbb"}
    assert await context(server).log.intents() == []


@pytest.fixture
async def died(tmp_path: Path) -> tuple[Path, FakeKube]:
    """A log with an intent, whose server is gone."""
    kube = FakeKube()
    stock(kube)
    async with server_in_process(tmp_path, kube=kube) as server:
        await context(server).log.add_intent(intent())
    return tmp_path, kube


@requirement("sessions-once", "F28")
async def test_a_crash_before_the_object_leaves_no_session(tmp_path: Path) -> None:
    async with server_in_process(tmp_path) as server:
        await context(server).log.add_intent(intent(age=timedelta(hours=1)))
    async with server_in_process(tmp_path) as server:
        await until_settled(server)
        assert await listed(server) == []


async def test_an_intent_is_kept_while_its_object_may_still_appear(died: tuple[Path, FakeKube]) -> None:
    async with server_in_process(died[0], kube=died[1]) as server:
        await context(server).intents.sweep()
        assert len(await context(server).log.intents()) == 1
        annotated(server.kube)
        await until(lambda: server.objects.sessions.by_name(NAMESPACE, NAME) is not None)
        await context(server).intents.sweep()
        (session,) = await listed(server)
        assert await event_types(server, session) == ["user.message"]


@requirement("sessions-once", "F28")
async def test_a_crash_before_the_binding_leaves_one_session_with_its_events(died: tuple[Path, FakeKube]) -> None:
    manifest = annotated(died[1])
    async with server_in_process(died[0], kube=died[1]) as server:
        await until_settled(server)
        session_id = "sesn_" + manifest["metadata"]["uid"].replace("-", "")
        assert await listed(server) == [session_id]
        assert await event_types(server, session_id) == ["user.message"]
        status, answer = await server.user("GET", f"/sessions/{session_id}", headers=HEADERS)
        assert (status, answer["status"], answer["created_at"]) == (200, "running", "2026-01-02T03:04:05.250000Z")


@requirement("sessions-once")
async def test_the_operators_report_binds_too_and_once(died: tuple[Path, FakeKube]) -> None:
    manifest = annotated(died[1])
    uid = manifest["metadata"]["uid"]
    session_id = "sesn_" + uid.replace("-", "")
    identity = {"id": session_id, "uid": uid, "namespace": NAMESPACE, "name": NAME, "generation": 1}
    body = {"config": {**intent().config, **identity}, "events": [], "intent": KEY}
    async with server_in_process(died[0], kube=died[1]) as server:
        for _ in range(2):
            status, summary = await server.operator("PUT", f"/sessions/{session_id}", body)
            assert (status, summary["head"], summary["wanted"]) == (200, 1, True)
        await context(server).intents.sweep()
        assert await event_types(server, session_id) == ["user.message"]


def dies(*_: Any) -> Any:
    """Ends a request where a kill of its server would."""
    raise RuntimeError("killed")


@pytest.mark.parametrize("step", ["_made", "_bound", "record"], ids=["no-object", "not-bound", "not-answered"])
@pytest.mark.parametrize(
    ("first", "again"),
    [({}, {"x-stainless-retry-count": "1"}), ({"Idempotency-Key": "k"}, {"Idempotency-Key": "k"})],
    ids=["retry", "key"],
)
@requirement("sessions-once", "F28")
async def test_a_repeat_after_a_crash_gets_the_session_that_was_begun(
    step: str, first: dict[str, str], again: dict[str, str], tmp_path: Path
) -> None:
    kube = FakeKube()
    shelf = stock(kube)
    async with server_in_process(tmp_path, kube=kube) as server:
        creator = context(server).public_sessions.creator
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(creator.log if step == "record" else SessionCreator, step, dies)
            assert (await create(server, shelf, {**HEADERS, **first}))[0] == 500
        begun = names(server)
    async with server_in_process(tmp_path, kube=kube) as server:
        status, answer = await create(server, shelf, {**HEADERS, **again})
        assert (status, answer["status"]) == (200, "running")
        assert await listed(server) == [answer["id"]]
        assert await event_types(server, answer["id"]) == ["user.message"]
        assert begun <= names(server)
        assert len(names(server)) == 1
        assert (step == "_made") == (not begun)


@requirement("sessions-once")
async def test_a_key_that_a_crash_cut_off_takes_no_other_body(tmp_path: Path) -> None:
    kube, keyed = FakeKube(), {**HEADERS, "Idempotency-Key": "k"}
    shelf = stock(kube)
    async with server_in_process(tmp_path, kube=kube) as server:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(SessionCreator, "_bound", dies)
            await create(server, shelf, keyed)
        status, answer = await create(server, shelf, keyed, title="another")
        assert (status, answer["error"]["type"]) == (422, "invalid_request_error")
        assert len(await listed(server)) == 1


async def test_an_intent_cannot_be_claimed_by_another_object(died: tuple[Path, FakeKube]) -> None:
    uid = uid_for("thief")
    identity = {"id": "sesn_" + uid.replace("-", ""), "uid": uid, "namespace": "team-b", "name": NAME}
    body = {"config": {**intent().config, **identity}, "events": [], "intent": KEY}
    async with server_in_process(died[0], kube=died[1]) as server:
        status, answer = await server.operator("PUT", f"/sessions/{identity['id']}", body)
        assert (status, answer["error"]["type"]) == (400, "invalid_request")
        assert len(await context(server).log.intents()) == 1


async def test_an_object_deleted_before_the_binding_leaves_no_session(died: tuple[Path, FakeKube]) -> None:
    manifest = annotated(died[1])
    async with server_in_process(died[0], kube=died[1]) as server:
        await until_settled(server)
        session_id = "sesn_" + manifest["metadata"]["uid"].replace("-", "")
        died[1].delete(kind_of("sessions"), NAMESPACE, NAME)
        assert (await server.operator("DELETE", f"/sessions/{session_id}"))[0] == 204
        await until(lambda: server.objects.sessions.by_name(NAMESPACE, NAME) is None)
        assert await listed(server) == []


async def until_settled(server: TestServer) -> None:
    """Wait until the sweep that runs at the start has dealt with every intent."""
    async with asyncio.timeout(5):
        while await context(server).log.intents():  # noqa: ASYNC110 - the log tells nobody when an intent goes
            await asyncio.sleep(0.01)
