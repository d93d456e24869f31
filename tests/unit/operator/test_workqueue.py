"""The queue's rules: no key lost, none twice at once, deadlines in order, failures with back-off."""

import asyncio

import pytest

from managed_agents.contracts.errors import RetryableError
from managed_agents.operator.workqueue import (
    BACKOFF_MAX_SECONDS,
    QueueState,
    WorkQueue,
    backoff_seconds,
)
from support.operator_world import ManualClock


def test_key_waits_once_and_runs_again_when_added_while_it_runs() -> None:
    state: QueueState[str] = QueueState()
    state.add("a")
    state.add("a")
    assert state.take(0) == "a"
    assert state.take(0) is None
    state.add("a")
    assert state.take(0) is None
    state.done("a")
    assert state.take(0) == "a"
    state.done("a")
    assert state.take(0) is None


def test_earliest_deadline_counts_and_an_event_overtakes_it() -> None:
    state: QueueState[str] = QueueState()
    state.add_at("a", 10)
    state.add_at("a", 5)
    state.add_at("a", 20)
    assert state.next_due() == 5
    assert state.take(4) is None
    assert state.take(5) == "a"
    state.done("a")
    assert state.next_due() is None
    state.add_at("b", 5)
    state.add("b")
    assert state.take(0) == "b"
    state.done("b")
    assert state.take(100) is None


def test_back_off_doubles_up_to_its_bound_and_never_beyond() -> None:
    delays = [backoff_seconds(failures, 0.999999) for failures in (1, 2, 3, 30)]
    assert delays == pytest.approx([0.25, 0.5, 1.0, BACKOFF_MAX_SECONDS], rel=1e-3)
    assert backoff_seconds(3, 0.0) == 0.5


async def test_failure_is_retried_after_what_the_other_side_asked_for() -> None:
    clock = ManualClock()
    seen = []

    async def handle(key: str) -> float | None:
        seen.append(key)
        if len(seen) == 1:
            raise RetryableError("later", delay_seconds=7)
        return 30.0

    queue = WorkQueue(handle, clock=clock, random=lambda: 0.0)
    queue.add("a")
    key = queue.state.take(clock.monotonic())
    assert key is not None
    await queue.process(key)
    queue.state.done(key)
    assert queue.state.next_due() == clock.monotonic() + 7
    clock.advance(7)
    assert queue.state.take(clock.monotonic()) == "a"
    await queue.process("a")
    queue.state.done("a")
    assert queue.state.next_due() == clock.monotonic() + 30
    assert queue.state.failures == {}


async def test_bug_in_one_key_stops_no_other() -> None:
    done = asyncio.Event()

    async def handle(key: str) -> None:
        if key == "bad":
            raise KeyError(key)
        done.set()

    queue = WorkQueue(handle, clock=ManualClock(), random=lambda: 0.0, workers=1)
    queue.add("bad")
    queue.add("good")
    task = asyncio.create_task(queue.run())
    async with asyncio.timeout(5):
        await done.wait()
    task.cancel()
    assert queue.state.failures == {"bad": 1}


async def test_no_more_keys_run_at_once_than_there_are_workers() -> None:
    running = 0
    most = 0
    left = 12
    gate, all_done = asyncio.Event(), asyncio.Event()

    async def handle(key: int) -> None:
        nonlocal running, most, left
        running += 1
        most = max(most, running)
        if running == 3:
            gate.set()
        await gate.wait()
        running -= 1
        left -= 1
        if left == 0:
            all_done.set()

    queue = WorkQueue(handle, clock=ManualClock(), random=lambda: 0.0, workers=3)
    for key in range(12):
        queue.add(key)
    task = asyncio.create_task(queue.run())
    async with asyncio.timeout(5):
        await all_done.wait()
    task.cancel()
    assert most == 3
