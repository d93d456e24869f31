"""The database thread: what it does when a commit fails, and in whose order it works."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import apsw
import pytest

from managed_agents.eventlog.errors import UnavailableError, VolumeFullError
from managed_agents.eventlog.sqlite.lanes import Lanes
from managed_agents.eventlog.sqlite.worker import GROUP_MAX, Worker
from support.requirements import requirement


class _Failing:
    """A connection whose COMMIT fails; all else goes to a real one."""

    def __init__(self, error: type[apsw.Error]) -> None:
        self.real = apsw.Connection(":memory:")
        self.real.execute("CREATE TABLE t (x)")
        self.error: type[apsw.Error] | None = error
        self.commits = 0

    def execute(self, sql: str) -> Any:
        if sql == "COMMIT":
            self.commits += 1
            if self.error is not None:
                raise self.error("injected")
        return self.real.execute(sql)

    @property
    def in_transaction(self) -> bool:
        return self.real.in_transaction

    def close(self) -> None:
        self.real.close()


class _NoState:
    def flush(self) -> None: ...

    def committed(self) -> list[Any]:
        return []

    def rolled_back(self) -> None: ...


def worker_on(connection: _Failing, failures: list[BaseException], tidy: Callable[[], None] = lambda: None) -> Worker:
    worker = Worker(connection, _NoState(), deliver=lambda _: None, on_fatal=failures.append, tidy=tidy)  # type: ignore[arg-type] # a fake
    worker.start()
    return worker


@requirement("F4")
async def test_a_failed_fsync_acknowledges_nothing_and_is_never_retried() -> None:
    connection, failures = _Failing(apsw.IOError), list[BaseException]()
    worker = worker_on(connection, failures)
    results = await asyncio.gather(*(worker.write(lambda: 1) for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [UnavailableError] * 3
    assert ([type(failure) for failure in failures], connection.commits) == ([apsw.IOError], 1)
    connection.error = None
    with pytest.raises(UnavailableError):
        await worker.write(lambda: 1)
    assert connection.commits == 1
    await worker.stop()


async def test_a_full_volume_refuses_and_recovers() -> None:
    connection, failures = _Failing(apsw.FullError), list[BaseException]()
    worker = worker_on(connection, failures)
    with pytest.raises(VolumeFullError, match="volume is full"):
        await worker.write(lambda: connection.execute("INSERT INTO t VALUES (1)"))
    connection.error = None
    assert await worker.write(lambda: 7) == 7
    assert await worker.read(lambda: connection.execute("SELECT count(*) FROM t").get) == 0
    assert failures == []
    await worker.stop()


async def test_calls_that_wait_share_one_transaction() -> None:
    connection = _Failing(apsw.IOError)
    connection.error = None
    worker = worker_on(connection, [])
    gate = asyncio.Event()
    loop = asyncio.get_running_loop()
    release = asyncio.run_coroutine_threadsafe

    def block() -> None:
        release(gate.wait(), loop).result(5)

    blocking = asyncio.create_task(worker.write(block))
    await asyncio.sleep(0)
    waiting = [asyncio.create_task(worker.write(lambda: None)) for _ in range(20)]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(blocking, *waiting)
    assert connection.commits <= 3
    await worker.stop()


def test_lanes_give_one_each_in_turn_and_keep_their_own_order() -> None:
    lanes = Lanes[str]()
    for lane, item in (("a", "a1"), ("a", "a2"), ("a", "a3"), ("b", "b1"), ("c", "c1"), ("b", "b2")):
        lanes.add(lane, item)
    first = [lanes.take() for _ in range(3)]
    lanes.add("c", "c2")
    rest = []
    while lanes:
        rest.append(lanes.take())
    assert (first, rest) == (["a1", "b1", "c1"], ["a2", "b2", "c2", "a3"])


class _Held:
    """Keeps the database thread until it is let go, so that calls queue up behind it."""

    def __init__(self) -> None:
        self._let_go = threading.Event()

    async def hold(self, worker: Worker) -> "asyncio.Future[Any]":
        started = asyncio.Event()
        loop = asyncio.get_running_loop()

        def wait() -> None:
            loop.call_soon_threadsafe(started.set)
            self._let_go.wait(5)

        holding = asyncio.ensure_future(worker.write(wait))
        await started.wait()
        return holding

    def release(self) -> None:
        self._let_go.set()


@requirement("log-turns")
async def test_a_lane_that_floods_does_not_delay_the_call_of_another() -> None:
    connection = _Failing(apsw.IOError)
    connection.error = None
    worker = worker_on(connection, [])
    held, ran = _Held(), list[str]()

    def note(name: str) -> Callable[[], None]:
        return lambda: ran.append(name)

    holding = await held.hold(worker)
    flood = [asyncio.ensure_future(worker.write(note("flood"), "a")) for _ in range(3 * GROUP_MAX)]
    await asyncio.sleep(0)
    quiet = asyncio.ensure_future(worker.write(note("quiet"), "b"))
    await asyncio.sleep(0)
    held.release()
    await quiet
    assert ran.index("quiet") == 1
    await asyncio.gather(holding, *flood)
    await worker.stop()


@requirement("log-turns")
async def test_a_read_is_answered_before_the_commit_of_the_writes_beside_it() -> None:
    connection = _Failing(apsw.IOError)
    connection.error = None
    worker = worker_on(connection, [])
    held, behind = _Held(), _Held()
    holding = await held.hold(worker)
    reading = asyncio.ensure_future(worker.read(lambda: connection.commits, "a"))
    writing = asyncio.ensure_future(behind.hold(worker))
    await asyncio.sleep(0)
    held.release()
    assert await reading == 1  # while the next transaction is held
    behind.release()
    await asyncio.gather(holding, await writing)
    await worker.stop()


async def test_what_waits_in_every_lane_is_answered_before_the_thread_ends() -> None:
    connection = _Failing(apsw.IOError)
    connection.error = None
    worker = worker_on(connection, [])
    calls = [asyncio.ensure_future(worker.write(lambda: None, f"lane {n % 7}")) for n in range(3 * GROUP_MAX)]
    await asyncio.sleep(0)
    await worker.stop()
    assert await asyncio.gather(*calls) == [None] * len(calls)


@requirement("F4")
@pytest.mark.parametrize(("error", "is_fatal"), [(apsw.IOError, True), (apsw.FullError, False)])
async def test_a_checkpoint_that_fails_is_as_fatal_as_a_commit_unless_space_is_short(
    error: type[apsw.Error], is_fatal: bool
) -> None:
    def tidy() -> None:
        raise error("injected")

    connection, failures = _Failing(apsw.IOError), list[BaseException]()
    connection.error = None
    worker = worker_on(connection, failures, tidy)
    assert await worker.write(lambda: 1) == 1  # it was durable before
    if is_fatal:
        with pytest.raises(UnavailableError):
            await worker.write(lambda: 2)
    else:
        assert await worker.write(lambda: 2) == 2
    assert [type(failure) for failure in failures] == ([error] if is_fatal else [])
    await worker.stop()
