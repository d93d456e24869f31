"""What every backend of the event log must do (design §5, I1-I4, I11, I13)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from managed_agents.contracts.errors import (
    ConflictError,
    FencedError,
    HeadMismatchError,
    NotFoundError,
    RejectedError,
)
from managed_agents.contracts.ids import new_event_id
from managed_agents.eventlog.errors import InputWaitingError, KeyReusedError, PreviouslyRejectedError
from managed_agents.eventlog.projection import Projection
from managed_agents.eventlog.records import Change, HarnessPod, LoggedEvent, Rejection, Sandbox, Slice
from managed_agents.eventlog.sqlite import open_event_log
from managed_agents.eventlog.store import Append, EventLog
from support.requirements import requirement

SESSION = "sesn_00000000000000000000000000000001"
OTHER = "sesn_00000000000000000000000000000002"


def config(session: str = SESSION, **changes: Any) -> dict[str, Any]:
    return {"id": session, "uid": f"uid-{session}", "namespace": "team-a", "name": "repair", "title": None, **changes}


def nothing(_: Mapping[str, Any], __: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return []


def take_all(_: Projection, __: Mapping[str, Any], ___: int) -> bool:
    return False


def on_fatal(error: BaseException) -> None:
    raise AssertionError(error)


@pytest.fixture(params=["memory", "file"])
async def log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[EventLog]:
    opened = open_event_log(None if request.param == "memory" else tmp_path, on_fatal=on_fatal)
    await opened.put(config(), nothing)
    yield opened
    await opened.close()


def said(text: str) -> dict[str, Any]:
    return {"type": "user.message", "content": [{"type": "text", "text": text}]}


def emitted(event_type: str, **fields: Any) -> dict[str, Any]:
    return {"id": new_event_id(), "type": event_type, **fields}


def from_client(*texts: str, key: str | None = None, **fields: Any) -> Append:
    sender = {"via": "api"}
    return Append(
        session=SESSION, events=[said(text) for text in texts], key=key, admit=take_all, sender=sender, **fields
    )


def from_harness(epoch: int, *events: Mapping[str, Any], **fields: Any) -> Append:
    return Append(session=SESSION, events=events, epoch=epoch, **fields)


async def positions(log: EventLog, session: str = SESSION) -> list[int]:
    return [event.position for event in await log.read(session, Slice())]


@requirement("I2", "I3")
async def test_positions_are_one_to_n_and_bodies_come_back(log: EventLog) -> None:
    first = await log.append(from_client("a", "b"))
    second = await log.append(from_client("c"))
    assert ([event.position for event in first.events], first.head, second.head) == ([1, 2], 2, 3)
    events = await log.read(SESSION, Slice())
    assert [orjson.loads(event.public())["content"][0]["text"] for event in events] == ["a", "b", "c"]
    assert [event.id for event in events] == [event.id for event in (*first.events, *second.events)]
    assert {event.processed_at for event in events} == {None}


async def test_a_slice_is_bounded_filtered_and_read_both_ways(log: EventLog) -> None:
    session = await log.take_epoch(SESSION)
    for number in range(5):
        kind = "agent.message" if number % 2 else "agent.thinking"
        await log.append(from_harness(session.epoch, emitted(kind, content=[])))

    async def read(**wanted: Any) -> Sequence[LoggedEvent]:
        return await log.read(SESSION, Slice(**wanted))

    assert [event.position for event in await read(after=1, limit=2)] == [2, 3]
    assert [event.position for event in await read(backwards=True, limit=2)] == [5, 4]
    assert [event.position for event in await read(after=1, before=4)] == [2, 3]
    assert [event.position for event in await read(types=("agent.message",))] == [2, 4]
    times = [event.processed_at or "" for event in await read()]
    assert times == sorted(times)
    assert [event.position for event in await read(processed=((">", times[2]),))] == [
        number for number, moment in enumerate(times, 1) if moment > times[2]
    ]
    assert await read(after=5) == []


@requirement("I13")
async def test_the_same_key_and_body_give_the_first_result(log: EventLog) -> None:
    first = await log.append(from_client("a", "b", key="k"))
    await log.append(from_client("c"))
    again = await log.append(from_client("a", "b", key="k"))
    assert (again.head, again.events) == (first.head, first.events)
    assert await positions(log) == [1, 2, 3]
    with pytest.raises(KeyReusedError):
        await log.append(from_client("other", key="k"))
    assert await positions(log) == [1, 2, 3]


async def test_the_same_event_ids_under_an_epoch_give_the_first_result(log: EventLog) -> None:
    epoch = (await log.take_epoch(SESSION)).epoch
    request = from_harness(epoch, emitted("session.status_running"), emitted("agent.thinking"), expected_head=0)
    first = await log.append(request)
    await log.append(from_client("later"))
    assert await log.append(request) == first
    changed = [{**request.events[0], "type": "agent.thinking"}, request.events[1]]
    with pytest.raises(KeyReusedError):
        await log.append(from_harness(epoch, *changed))
    with pytest.raises(KeyReusedError):
        await log.append(from_harness(epoch, request.events[0], emitted("agent.thinking")))
    assert await positions(log) == [1, 2, 3]


async def test_an_event_id_of_another_session_is_refused(log: EventLog) -> None:
    await log.put(config(OTHER), nothing)
    mine, other = await log.take_epoch(SESSION), await log.take_epoch(OTHER)
    event = emitted("agent.thinking")
    await log.append(from_harness(mine.epoch, event))
    with pytest.raises(KeyReusedError):
        await log.append(Append(session=OTHER, events=[event], epoch=other.epoch))
    assert await positions(log, OTHER) == []


@requirement("I4")
async def test_epochs_fence_and_an_expected_head_holds(log: EventLog) -> None:
    old = (await log.take_epoch(SESSION)).epoch
    new = (await log.take_epoch(SESSION)).epoch
    assert new == old + 1
    for epoch in (old, new + 1):
        with pytest.raises(FencedError):
            await log.append(from_harness(epoch, emitted("agent.thinking")))
    await log.append(from_client("hello"))
    with pytest.raises(HeadMismatchError) as raised:
        await log.append(from_harness(new, emitted("agent.thinking"), expected_head=0))
    assert raised.value.head == 1
    await log.append(from_harness(new, emitted("agent.thinking"), expected_head=1))
    assert [event.epoch for event in await log.read(SESSION, Slice())] == [None, new]


@requirement("I3")
async def test_processed_is_stamped_once_in_the_same_commit(log: EventLog) -> None:
    changes: list[Change] = []
    log.listen(changes.append)
    sent = (await log.append(from_client("hello"))).events[0]
    epoch = (await log.take_epoch(SESSION)).epoch
    done = await log.append(from_harness(epoch, emitted("session.status_running"), processed=[sent.id]))
    stamped, running = await log.read(SESSION, Slice())
    assert (stamped.processed_at, running.processed_at) == (done.at, done.at)
    assert (changes[-1].stamped, changes[-1].events) == ((stamped,), (running,))
    await log.append(from_harness(epoch, processed=[sent.id]))
    assert (await log.read(SESSION, Slice()))[0] == stamped
    for unknown in ("sevt_unknown", running.id):
        with pytest.raises(RejectedError):
            await log.append(from_harness(epoch, processed=[unknown]))


async def test_admission_decides_event_by_event_and_all_or_none(log: EventLog) -> None:
    def admit(projection: Projection, event: Mapping[str, Any], index: int) -> bool:
        if index == 1 and projection.head != 1:
            raise AssertionError("the second event must see the first")
        if event["content"][0]["text"] == "bad":
            raise RejectedError("bad")
        return bool(event["content"][0]["text"] == "now")

    def request(*texts: str) -> Append:
        return Append(session=SESSION, events=[said(text) for text in texts], admit=admit, sender={})

    with pytest.raises(RejectedError):
        await log.append(request("fine", "bad"))
    assert await positions(log) == []
    appended = await log.append(request("now", "later"))
    assert [event.processed_at is None for event in appended.events] == [False, True]


async def test_a_rejected_key_stays_rejected(log: EventLog) -> None:
    await log.reject(SESSION, "spec/a", Rejection(reason="Invalid", message="no"))
    with pytest.raises(PreviouslyRejectedError):
        await log.append(from_client("hello", key="spec/a"))
    await log.append(from_client("hello", key="spec/b"))
    assert await log.keys(SESSION, ["spec/a", "spec/b", "spec/c"]) == {
        "spec/a": Rejection(reason="Invalid", message="no"),
        "spec/b": None,
    }


async def test_release_is_refused_while_wanted_and_fences_after(log: EventLog) -> None:
    pod = HarnessPod(pod_uid="p", namespace="n", pod_name="p", deployment_uid="d", session_id=SESSION)
    await log.register(pod)
    await log.append(from_client("hello"))
    epoch = (await log.take_epoch(SESSION)).epoch
    sandbox = await log.claim_sandbox(SESSION, epoch)
    with pytest.raises(InputWaitingError):
        await log.release(SESSION, epoch)
    assert await log.harness_pod("p") == pod
    await log.append(from_harness(epoch, emitted("session.status_idle", stop_reason={"type": "end_turn"})))
    released = await log.release(SESSION, epoch)
    assert (released.released, released.wanted, released.sandbox) == (True, False, None)
    assert await log.release(SESSION, epoch) == released
    assert (await log.sandbox(SESSION, sandbox.pod_name)).state == "gone"
    assert await log.harness_pod("p") is None
    with pytest.raises(FencedError):
        await log.append(from_harness(epoch, emitted("agent.thinking")))
    with pytest.raises(FencedError):
        await log.release(SESSION, epoch - 1)
    await log.append(from_client("again"))
    assert (await log.session(SESSION)).released is False


@requirement("I11")
async def test_a_terminated_session_takes_nothing_more(log: EventLog) -> None:
    epoch = (await log.take_epoch(SESSION)).epoch
    await log.append(Append(session=SESSION, events=[{"type": "session.status_terminated"}]))
    for request in (from_harness(epoch, emitted("agent.thinking")), Append(session=SESSION, events=[{"type": "x"}])):
        with pytest.raises(ConflictError):
            await log.append(request)
    assert await positions(log) == [1]


@requirement("I11")
async def test_a_deleted_session_is_gone_and_its_id_never_returns(log: EventLog) -> None:
    await log.append(from_client("hello"))
    pod = HarnessPod(pod_uid="p", namespace="n", pod_name="p", deployment_uid="d", session_id=SESSION)
    await log.register(pod)
    assert await log.harness_pod("p") == pod
    assert await log.delete(SESSION) is True
    assert await log.harness_pod("p") is None
    assert await log.delete(SESSION) is False
    assert await log.sessions() == []
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: log.session(SESSION),
        lambda: log.read(SESSION, Slice()),
        lambda: log.append(from_client("hello")),
        lambda: log.take_epoch(SESSION),
    ]
    for call in calls:
        with pytest.raises(NotFoundError):
            await call()
    with pytest.raises(ConflictError):
        await log.put(config(), nothing)


async def test_a_deployment_serves_one_session_for_ever(log: EventLog) -> None:
    await log.put(config(OTHER), nothing)
    pod = HarnessPod(pod_uid="p", namespace="n", pod_name="p", deployment_uid="d", session_id=SESSION)
    await log.register(pod)
    assert await log.harness_pod("p") == pod
    await log.unregister("p")
    assert await log.harness_pod("p") is None
    with pytest.raises(ConflictError):
        await log.register(HarnessPod(pod_uid="q", namespace="n", pod_name="q", deployment_uid="d", session_id=OTHER))


async def test_a_pod_that_is_registered_anew_is_told_anew(log: EventLog) -> None:
    pod = HarnessPod(pod_uid="p", namespace="n", pod_name="p", deployment_uid="d", session_id=SESSION)
    await log.register(pod)
    assert await log.harness_pod("p") == pod
    await log.register(replace(pod, deployment_uid="e"))
    assert await log.harness_pod("p") == replace(pod, deployment_uid="e")


async def test_a_sandbox_that_is_gone_stays_gone_and_the_next_has_another_name(log: EventLog) -> None:
    epoch = (await log.take_epoch(SESSION)).epoch
    first = await log.claim_sandbox(SESSION, epoch)
    assert await log.claim_sandbox(SESSION, epoch) == first

    async def report(**changes: Any) -> Sandbox:
        return await log.report_sandbox(SESSION, replaced(first, **changes))

    ready = await report(state="ready", pod_uid="u", address="a:1")
    assert (ready.state, ready.address, ready.bind_token) == ("ready", "a:1", first.bind_token)
    assert (await report(state="ready", pod_uid="another", address="b:1")).state == "gone"
    assert (await report(state="ready", pod_uid="u", address="a:1")).state == "gone"
    second = await log.claim_sandbox(SESSION, epoch)
    assert (second.generation, second.pod_name != first.pod_name) == (2, True)
    with pytest.raises(FencedError):
        await log.claim_sandbox(SESSION, epoch + 1)


def replaced(sandbox: Sandbox, **changes: Any) -> Sandbox:
    return replace(sandbox, bind_token="", binding_secret="", generation=0, **changes)


async def test_a_changed_config_is_told_with_the_events_it_leads_to(log: EventLog) -> None:
    changes: list[Change] = []
    log.listen(changes.append)

    def describe(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        return [{"type": "session.updated", "title": new["title"]}]

    await log.put(config(title="x"), describe)
    await log.put(config(title="x"), describe)
    assert [change.config for change in changes] == [config(title="x"), None]
    assert [event.type for event in await log.read(SESSION, Slice())] == ["session.updated"]
    assert await log.config(SESSION) == config(title="x")


async def test_changes_are_told_in_commit_order_before_the_caller_hears(log: EventLog) -> None:
    heard: list[int] = []
    log.listen(lambda change: heard.extend(event.position for event in change.events))

    async def send(number: int) -> None:
        appended = await log.append(from_client(str(number)))
        assert appended.head in heard

    await asyncio.gather(*(send(number) for number in range(50)))
    assert heard == list(range(1, 51))


async def test_one_bad_append_does_not_take_its_neighbours_with_it(log: EventLog) -> None:
    def broken(_: Projection, __: Mapping[str, Any], ___: int) -> bool:
        raise ZeroDivisionError

    unstorable = Append(session=SESSION, events=[said("x")], admit=broken, sender={})
    results = await asyncio.gather(
        log.append(from_client("a")), log.append(unstorable), log.append(from_client("b")), return_exceptions=True
    )
    assert [isinstance(result, BaseException) for result in results] == [False, True, False]
    assert await positions(log) == [1, 2]
