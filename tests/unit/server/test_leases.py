"""Leases on an injected clock: heartbeats, loss, takeover."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson
import pytest

from managed_agents.eventlog.records import HarnessPod, Sandbox
from managed_agents.eventlog.sqlite import open_event_log
from managed_agents.eventlog.store import Append, EventLog
from managed_agents.server.services import leases as module
from managed_agents.server.services.feed import ChangeFeed
from managed_agents.server.services.leases import Lease, Leases

SESSION = "sesn_00000000000000000000000000000001"


@dataclass
class ManualClock:
    seconds: float = 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.seconds


@dataclass
class World:
    log: EventLog
    clock: ManualClock
    feed: ChangeFeed
    leases: Leases


@pytest.fixture
async def world() -> AsyncIterator[World]:
    def on_fatal(error: BaseException) -> None:
        raise AssertionError(error)

    log, clock = open_event_log(None, on_fatal=on_fatal), ManualClock()
    feed = ChangeFeed(log.boot)
    leases = Leases(log, clock, feed)
    log.listen(leases.on_change)
    await log.put({"id": SESSION, "uid": "u", "namespace": "n", "name": "s"}, lambda _, __: [])
    for pod in ("a", "b"):
        await log.register(HarnessPod(pod_uid=pod, namespace="n", pod_name=pod, deployment_uid="d", session_id=SESSION))
    yield World(log, clock, feed, leases)
    await log.close()


async def acquired(world: World, pod: str) -> Lease:
    async with asyncio.timeout(5):
        lease = await world.leases.acquire(pod)
    assert lease is not None
    return lease


async def frames(lease: Lease) -> list[str]:
    async with asyncio.timeout(5):
        return [orjson.loads(frame)["type"] async for frame in lease.frames()]


async def said(world: World, text: str = "x") -> None:
    event = {"type": "user.message", "content": [{"type": "text", "text": text}]}
    await world.log.append(Append(session=SESSION, events=[event], admit=lambda *_: False, sender={}))


async def test_a_lease_without_heartbeat_is_lost_after_five_seconds_and_the_next_pod_gets_it(world: World) -> None:
    first = await acquired(world, "a")
    waiting = asyncio.create_task(acquired(world, "b"))
    world.clock.seconds = 4.0
    world.leases.heartbeat(first)
    world.clock.seconds = 9.0
    world.leases.expire()
    assert (world.leases.holder(SESSION), waiting.done()) == ("a", False)
    world.clock.seconds = 9.1
    world.leases.expire()
    second = await waiting
    assert (second.epoch, world.leases.holder(SESSION)) == (first.epoch + 1, "b")
    assert await frames(first) == ["lease"]


async def test_wall_clock_steps_change_no_lease(world: World) -> None:
    await acquired(world, "a")
    world.leases.expire()
    assert len(world.leases) == 1


async def test_events_that_arrive_while_a_lease_is_granted_are_sent_once(world: World) -> None:
    await said(world, "before")
    acquiring = asyncio.create_task(acquired(world, "a"))
    await asyncio.gather(*(said(world, str(number)) for number in range(20)))
    lease = await acquiring
    await said(world, "after")
    lease.end("lost")
    sent = [orjson.loads(frame) async for frame in lease.frames()]
    positions = [frame["event"]["position"] for frame in sent[1:]]
    assert positions == list(range(sent[0]["head"] + 1, 23))


async def test_a_harness_that_reads_too_slowly_loses_its_lease(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OUTBOX_MAX", 3)
    lease = await acquired(world, "a")
    for _ in range(4):
        await said(world)
    assert (lease.ended.is_set(), world.leases.holder(SESSION)) == (True, None)


async def test_a_terminated_session_is_leased_to_nobody(world: World) -> None:
    lease = await acquired(world, "a")
    await world.log.append(Append(session=SESSION, events=[{"type": "session.status_terminated"}]))
    assert await frames(lease) == ["lease", "event", "fenced"]
    assert await world.leases.acquire("a", seconds=0) is None


async def with_sandbox(world: World, lease: Lease) -> str:
    """Give the session a sandbox that is ready; return its name."""
    name = (await world.log.claim_sandbox(SESSION, lease.epoch)).pod_name
    ready = Sandbox(
        namespace="n", pod_name=name, generation=1, state="ready", bind_token="", binding_secret="", address="a:1"
    )
    await world.log.report_sandbox(SESSION, ready)
    return name


async def ended(lease: Lease) -> dict[str, str]:
    async with asyncio.timeout(5):
        last: dict[str, str] = [orjson.loads(frame) async for frame in lease.frames()][-1]
    return last


async def test_a_released_pod_may_copy_what_its_sandbox_holds_until_it_says_so_or_for_ten_seconds(
    world: World,
) -> None:
    for seconds in (0.0, 10.0):
        lease = await acquired(world, "a")
        name = await with_sandbox(world, lease)
        await world.log.release(SESSION, lease.epoch)
        looks = world.leases.last_looks
        assert await ended(lease) == {"type": "released", "sandbox": name}
        assert (looks.awaited(SESSION), looks.of(SESSION, "a") is not None, looks.of(SESSION, "b") is not None) == (
            name,
            True,
            False,
        )
        looks.done(SESSION, "another")
        world.clock.seconds += seconds
        if seconds == 0.0:
            looks.done(SESSION, name)
        before = world.feed.revision(SESSION)
        world.leases.expire()
        assert (looks.awaited(SESSION), looks.of(SESSION, "a")) == (None, None)
        assert (world.feed.revision(SESSION) > before) == (seconds > 0.0), "the operator hears of the end"
        await world.log.register(
            HarnessPod(pod_uid="a", namespace="n", pod_name="a", deployment_uid="d", session_id=SESSION)
        )


async def test_the_end_of_a_session_leads_to_a_last_look_too_and_a_pod_that_is_gone_ends_it(world: World) -> None:
    lease = await acquired(world, "a")
    name = await with_sandbox(world, lease)
    await world.log.archive(SESSION)
    assert await ended(lease) == {"type": "fenced", "sandbox": name}
    world.leases.unregistered("b")
    assert world.leases.last_looks.awaited(SESSION) == name
    world.leases.unregistered("a")
    assert world.leases.last_looks.awaited(SESSION) is None


async def test_a_takeover_or_a_sandbox_that_never_was_ready_is_not_waited_for(world: World) -> None:
    first = await acquired(world, "a")
    await with_sandbox(world, first)
    second = await acquired(world, "a")
    assert await ended(first) == {"type": "fenced"}
    await world.log.release(SESSION, second.epoch)
    world.leases.last_looks.forget(SESSION)
    await world.log.register(
        HarnessPod(pod_uid="a", namespace="n", pod_name="a", deployment_uid="d", session_id=SESSION)
    )
    third = await acquired(world, "a")
    await world.log.claim_sandbox(SESSION, third.epoch)
    await world.log.release(SESSION, third.epoch)
    assert await ended(third) == {"type": "released"}
    assert world.leases.last_looks.awaited(SESSION) is None


async def test_an_unknown_pod_waits_in_vain(world: World) -> None:
    assert await world.leases.acquire("unknown", seconds=0) is None


async def test_a_stopping_server_leases_no_more(world: World) -> None:
    waiting = asyncio.create_task(world.leases.acquire("unknown"))
    held = await acquired(world, "a")
    queued = asyncio.create_task(world.leases.acquire("b"))
    await asyncio.sleep(0)
    world.leases.end_all()
    async with asyncio.timeout(5):
        assert (await waiting, await queued) == (None, None)
    assert await frames(held) == ["lease"]
    assert len(world.leases) == 0


async def test_config_that_changes_while_the_lease_is_granted_is_in_it() -> None:
    lease = Lease(SESSION, "a", 0.0)
    lease.config({"id": SESSION, "title": "new"})
    lease.grant(1, 0, {"id": SESSION, "title": "old"})
    lease.end("lost")

    frames = [orjson.loads(frame) async for frame in lease.frames()]
    assert [frame["session"]["title"] for frame in frames] == ["new"]


async def test_changed_config_goes_before_the_event_that_tells_of_it(world: World) -> None:
    lease = await acquired(world, "a")
    updated = {"type": "session.updated", "title": "new"}
    config = {"id": SESSION, "uid": "u", "namespace": "n", "name": "s", "title": "new"}
    await world.log.put(config, lambda _, __: [updated])
    lease.end("lost")

    frames = [orjson.loads(frame) async for frame in lease.frames()]
    assert [frame["type"] for frame in frames] == ["lease", "session", "event"]
