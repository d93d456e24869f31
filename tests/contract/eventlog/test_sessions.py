"""Intents and lists of sessions: what every backend of the event log must do for the public API (design §3)."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from managed_agents.contracts.clock import rfc3339
from managed_agents.contracts.errors import ConflictError, NotFoundError
from managed_agents.eventlog.intents import Identity, Intent
from managed_agents.eventlog.projection import Projection
from managed_agents.eventlog.queries import SessionQuery
from managed_agents.eventlog.records import Slice
from managed_agents.eventlog.replies import Reply, ReplyKey
from managed_agents.eventlog.sqlite import open_event_log
from managed_agents.eventlog.store import Admit, Append, EventLog

ID = "sesn_00000000000000000000000000000001"
IDENTITY = Identity(id=ID, uid="uid-1", generation=1)
START = datetime(2026, 1, 2, tzinfo=UTC)


def on_fatal(error: BaseException) -> None:
    raise AssertionError(error)


@pytest.fixture(params=["memory", "file"])
async def log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[EventLog]:
    opened = open_event_log(None if request.param == "memory" else tmp_path, on_fatal=on_fatal)
    yield opened
    await opened.close()


def said(text: str) -> dict[str, Any]:
    return {"type": "user.message", "content": [{"type": "text", "text": text}]}


def intent(*texts: str, **changes: Any) -> Intent:
    values: dict[str, Any] = {
        "key": "key-1",
        "namespace": "team-a",
        "name": "repair",
        "created_at": "2026-01-02T00:00:00.500000Z",
        "config": {"title": "x", "created_at": "2026-01-02T00:00:00.500000Z", "agent": {"id": "agent_1", "version": 2}},
        "events": tuple(said(text) for text in texts),
        "sender": {"via": "api", "username": "alice"},
    }
    return Intent(**values | changes)


def take_all(_: Projection, __: Mapping[str, Any], ___: int) -> bool:
    return False


def admit(_: str, __: Intent) -> Admit:
    return take_all


def nothing(_: Mapping[str, Any], __: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return []


def described(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [{"type": "session.updated", "title": new.get("title")}] if old.get("title") != new.get("title") else []


def config(number: int, *, seconds: float | None = None, **changes: Any) -> dict[str, Any]:
    created = rfc3339(START + timedelta(seconds=number if seconds is None else seconds))
    identity = {"id": f"sesn_{number:032}", "uid": f"uid-{number}", "namespace": "team-a", "name": f"s-{number}"}
    return {**identity, "created_at": created, "agent": {"id": "agent_1", "version": 1}, **changes}


async def test_an_intent_becomes_a_session_with_its_events_in_one_commit(log: EventLog) -> None:
    heard: list[tuple[int, ...]] = []
    await log.add_intent(intent("one", "two"))
    log.listen(lambda change: heard.append(tuple(event.position for event in change.events)))
    session = await log.bind_intent("key-1", IDENTITY, {}, admit)
    assert session is not None
    assert (session.id, session.namespace, session.name, session.projection.head) == (ID, "team-a", "repair", 2)
    assert session.wanted
    assert session.shown_status == "running"
    assert heard == [(), (1, 2)]
    assert (await log.config(ID))["generation"] == 1
    events = await log.read(ID, Slice())
    assert [b'"username":"alice"' in (event.private or b"") for event in events] == [True, True]
    assert await log.intents() == []


async def test_the_binding_keeps_the_session_for_a_repeat_of_its_request(log: EventLog) -> None:
    asked = ReplyKey(key=b"request", digest=b"body", expires=2.0)
    await log.add_intent(intent("one", reply=asked))
    assert (await log.intent("key-1")) == intent("one", reply=asked)
    assert await log.reply(asked.key, 1.0) is None
    await log.bind_intent("key-1", IDENTITY, {}, admit)
    assert await log.reply(asked.key, 1.0) == Reply(digest=b"body", status=200, body=None, session=ID)
    assert await log.reply(asked.key, 2.0) is None
    await log.delete(ID)
    assert await log.reply(asked.key, 1.0) is None


async def test_binding_twice_changes_nothing(log: EventLog) -> None:
    await log.add_intent(intent("one"))
    await asyncio.gather(*(log.bind_intent("key-1", IDENTITY, {}, admit) for _ in range(5)))
    assert await log.bind_intent("key-1", IDENTITY, {}, admit) is None
    assert len(await log.read(ID, Slice())) == 1


async def test_an_intent_survives_a_restart_and_can_be_dropped(tmp_path: Path) -> None:
    opened = open_event_log(tmp_path, on_fatal=on_fatal)
    await opened.add_intent(intent("one"))
    await opened.close()
    opened = open_event_log(tmp_path, on_fatal=on_fatal)
    assert list(await opened.intents()) == [intent("one")]
    await opened.drop_intent("key-1")
    assert await opened.intents() == []
    assert await opened.bind_intent("key-1", IDENTITY, {}, admit) is None
    with pytest.raises(NotFoundError):
        await opened.session(ID)
    await opened.close()


async def test_an_abandoned_intent_is_never_bound(log: EventLog) -> None:
    await log.add_intent(intent("one"))
    await log.abandon_intent("key-1")
    with pytest.raises(ConflictError):
        await log.bind_intent("key-1", IDENTITY, {}, admit)
    assert list(await log.intents()) == [intent("one", state="abandoned")]


async def test_an_intent_of_a_session_deleted_meanwhile_is_not_bound(log: EventLog) -> None:
    await log.add_intent(intent("one"))
    await log.delete(ID)
    with pytest.raises(ConflictError):
        await log.bind_intent("key-1", IDENTITY, {}, admit)


async def test_an_older_view_of_the_object_changes_nothing(log: EventLog) -> None:
    await log.put(config(1, generation=2, title="new"), described)
    session = await log.put(config(1, generation=1, title="old"), described)
    assert session.projection.head == 0
    assert (await log.config(session.id))["title"] == "new"
    await log.put(config(1, generation=2, title="newer"), described)
    assert (await log.session(session.id)).projection.head == 1


async def test_a_new_generation_alone_is_no_change_of_the_session(log: EventLog) -> None:
    await log.put(config(1, generation=1), described)
    changed: list[Any] = []
    log.listen(lambda change: changed.append(change.config))
    await log.put(config(1, generation=2), described)
    assert changed == []
    assert (await log.config(f"sesn_{1:032}"))["generation"] == 2


async def test_the_first_creation_time_stays(log: EventLog) -> None:
    await log.put(config(1, seconds=1.5), nothing)
    await log.put(config(1, seconds=1.0, title="x"), nothing)
    assert (await log.record(f"sesn_{1:032}")).created_at == rfc3339(START + timedelta(seconds=1.5))


async def test_archive_notes_the_first_time_only(log: EventLog) -> None:
    session = await log.put(config(1), nothing)
    assert (await log.record(session.id)).archived_at is None
    assert (await log.archive(session.id)).projection.status == "terminated"
    first = (await log.record(session.id)).archived_at
    await log.archive(session.id)
    assert first is not None
    assert (await log.record(session.id)).archived_at == first
    assert [event.type for event in await log.read(session.id, Slice())] == ["session.status_terminated"]


async def test_a_session_that_failed_is_terminated_and_not_archived(log: EventLog) -> None:
    session = await log.put(config(1), nothing)
    await log.append(Append(session=session.id, events=[{"type": "session.status_terminated"}]))
    record = await log.record(session.id)
    assert (record.session.shown_status, record.archived_at) == ("terminated", None)


async def test_find_filters_and_orders(log: EventLog) -> None:
    await log.put(config(3), nothing)
    await log.put(config(1, agent={"id": "agent_2", "version": 7}), nothing)
    await log.put(config(2), nothing)
    await log.put(config(4, namespace="team-b"), nothing)
    await log.append(Append(session=f"sesn_{2:032}", events=[said("hi")], admit=take_all, sender={}))
    await log.archive(f"sesn_{3:032}")
    everything = SessionQuery(namespace="team-a", limit=10, include_archived=True)

    async def found(**changes: Any) -> list[str]:
        return [record.session.name for record in await log.find(replace(everything, **changes))]

    assert await found() == ["s-1", "s-2", "s-3"]
    assert await found(backwards=True, limit=2) == ["s-3", "s-2"]
    assert await found(include_archived=False) == ["s-1", "s-2"]
    assert await found(agent_id="agent_2") == ["s-1"]
    assert await found(agent_id="agent_1", agent_version=7) == []
    assert await found(statuses=("running",)) == ["s-2"]
    assert await found(statuses=("terminated", "idle")) == ["s-1", "s-3"]
    assert await found(created=((">=", rfc3339(START + timedelta(seconds=2))),)) == ["s-2", "s-3"]
    assert await found(beyond=(rfc3339(START + timedelta(seconds=2)), f"sesn_{2:032}")) == ["s-3"]
    await log.delete(f"sesn_{2:032}")
    assert await found() == ["s-1", "s-3"]


async def test_pages_meet_without_gap_among_sessions_of_one_moment(log: EventLog) -> None:
    for number in range(1, 12):
        await log.put(config(number, seconds=number // 4), nothing)
    query = SessionQuery(namespace="team-a", limit=3)
    for backwards in (False, True):
        seen: list[str] = []
        beyond = None
        for _ in itertools.count():
            page = await log.find(replace(query, beyond=beyond, backwards=backwards))
            if not page:
                break
            seen += [record.session.name for record in page]
            beyond = page[-1].place
        assert sorted(seen) == sorted(f"s-{number}" for number in range(1, 12))


async def test_a_log_from_before_the_index_gets_one(tmp_path: Path) -> None:
    opened = open_event_log(tmp_path, on_fatal=on_fatal)
    await opened.put(config(1), nothing)
    await opened.put(config(2), nothing)
    await opened.archive(f"sesn_{2:032}")
    await opened._worker.write(lambda: opened._state.connection.execute("DROP TABLE session_index"))
    await opened.close()
    opened = open_event_log(tmp_path, on_fatal=on_fatal)
    records = await opened.find(SessionQuery(namespace="team-a", limit=10, include_archived=True))
    assert [(record.session.name, record.archived_at is not None) for record in records] == [
        ("s-1", False),
        ("s-2", True),
    ]
    await opened.close()
