"""The one thread that owns the database: group commit, and nothing acknowledged before its fsync.

While one transaction is on its way to the disk, calls queue up in lanes, one a tenant. When the thread is free, it
takes them, each lane in turn: the writes go into the next transaction together; reads run before it, so they see
committed data only, and wait for no fsync.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import apsw
import structlog

from managed_agents.contracts.errors import ManagedAgentsError
from managed_agents.eventlog.errors import UnavailableError, VolumeFullError
from managed_agents.eventlog.records import Change
from managed_agents.eventlog.sqlite.lanes import Lanes

T = TypeVar("T")
Fatal = Callable[[BaseException], None]

GROUP_MAX = 128
"""Writes in one transaction: more would make the first of them wait for the last. An fsync of 5 ms still allows 25,000
a second, more than the thread can make."""

READ_SECONDS_MAX = 0.01
"""No read begins after so long in one round: a tenant that lists long logs holds up the writes of others no longer."""

_log = structlog.get_logger(__name__)


class Unit(Protocol):
    """The state beside the database that a transaction changes: flushed before the commit, dropped with a rollback."""

    def flush(self) -> None:
        """Write what the transaction's calls left to be written once."""
        ...

    def committed(self) -> list[Change]:
        """Adopt the transaction's state; return its changes in order."""
        ...

    def rolled_back(self) -> None:
        """Drop the transaction's state."""
        ...


@dataclass(slots=True)
class _Job:
    lane: str
    call: Callable[[], Any]
    write: bool
    future: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None
    changes: list[Change] = field(default_factory=list)


def _nothing() -> None:
    pass


class Worker:
    """Runs calls on the database thread and answers them on the event loop that started it.

    `tidy` runs there after each transaction, once its callers have their answers.
    """

    def __init__(
        self,
        connection: apsw.Connection,
        unit: Unit,
        *,
        deliver: Callable[[Sequence[Change]], None],
        on_fatal: Fatal,
        tidy: Callable[[], None] = _nothing,
    ) -> None:
        self._connection = connection
        self._unit = unit
        self._deliver = deliver
        self._on_fatal = on_fatal
        self._tidy = tidy
        self._lanes: Lanes[_Job] = Lanes()  # of the database thread
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._stopped = self._loop.create_future()
        self._closing = False
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="eventlog", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    async def stop(self) -> None:
        """Answer what waits, close the database, end the thread."""
        if not self._closing:
            self._closing = True
            self._queue.put(None)
        await asyncio.shield(self._stopped)
        self._thread.join()

    async def read(self, call: Callable[[], T], lane: str = "") -> T:
        """Run a call that changes nothing. Calls of one lane begin in their order; lanes take turns."""
        return await self._submit(lane, call, write=False)

    async def write(self, call: Callable[[], T], lane: str = "") -> T:
        """Run a call in the next transaction; return after its commit."""
        return await self._submit(lane, call, write=True)

    def require_open(self) -> None:
        """Refuse what would follow the end, or a failure. Raises: UnavailableError."""
        if self._closing or self.failure is not None:
            raise UnavailableError("the event log is closed; try again when the server is back")

    async def _submit(self, lane: str, call: Callable[[], T], *, write: bool) -> T:
        self.require_open()
        job = _Job(lane, call, write, self._loop.create_future())
        self._queue.put(job)
        result: T = await job.future
        return result

    def _run(self) -> None:
        running = True
        while running or self._lanes:
            running = running and self._collect()
            reads, writes = self._next()
            if reads:
                self._loop.call_soon_threadsafe(self._answer, reads)
            if writes:
                self._transact(writes)
                self._loop.call_soon_threadsafe(self._answer, writes)
                self._tidy_up()
        self._connection.close()
        self._loop.call_soon_threadsafe(self._stopped.set_result, None)

    def _collect(self) -> bool:
        """Put what has arrived into its lanes; wait for something when they are empty. False once the log closes."""
        is_idle = not self._lanes
        while True:
            try:
                job = self._queue.get(block=is_idle)
            except queue.Empty:
                return True
            if job is None:
                return False
            self._lanes.add(job.lane, job)
            is_idle = False

    def _next(self) -> tuple[list[_Job], list[_Job]]:
        """Run the reads whose turn it is; return them, and the writes of the next transaction."""
        reads: list[_Job] = []
        writes: list[_Job] = []
        until = time.monotonic() + READ_SECONDS_MAX
        while self._lanes and len(writes) < GROUP_MAX and (not reads or time.monotonic() < until):
            job = self._lanes.take()
            if job.write:
                writes.append(job)
            else:
                self._execute(job)
                reads.append(job)
        return reads, writes

    def _tidy_up(self) -> None:
        if self.failure is not None:
            return
        try:
            self._tidy()
        except apsw.FullError:
            pass  # for now: nothing is lost, and the next round tries again
        except apsw.Error as error:
            self.failure = error
            self._on_fatal(error)

    def _execute(self, job: _Job) -> bool:
        """Run one call; False when it failed in a way that may have left something half done."""
        try:
            job.result = job.call()
        except ManagedAgentsError as error:
            job.error = error
        except Exception as error:  # noqa: BLE001 - the edge of the thread: the caller gets it
            job.error = error
            return False
        return True

    def _transact(self, jobs: Sequence[_Job]) -> None:
        if self.failure is not None:
            self._refuse(jobs, UnavailableError("the event log failed; the server restarts"))
            return
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            whole = all(self._execute(job) for job in jobs)
            if whole:
                self._unit.flush()
                self._connection.execute("COMMIT")
        except apsw.Error as error:
            self._commit_failed(jobs, error)
            return
        if whole:
            jobs[-1].changes = self._unit.committed()
        elif len(jobs) == 1:
            self._commit_failed(jobs, jobs[0].error or RuntimeError("a write failed"))
        else:
            self._roll_back()
            for job in jobs:  # one bad call must not take its neighbours with it
                job.result, job.error = None, None
                self._transact([job])

    def _commit_failed(self, jobs: Sequence[_Job], error: BaseException) -> None:
        self._roll_back()
        match error:
            case apsw.FullError():
                self._refuse(jobs, VolumeFullError("the event log's volume is full; enlarge it or delete sessions"))
            case apsw.IOError():
                # After a failed fsync nobody knows what is on the disk: never try it again, reopen and look (F4).
                self.failure = error
                self._refuse(jobs, UnavailableError("the event log could not be written; the server restarts"))
                self._on_fatal(error)
            case _:
                self._refuse(jobs, error)

    def _roll_back(self) -> None:
        self._unit.rolled_back()
        if self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except apsw.Error as error:
                self.failure = self.failure or error

    @staticmethod
    def _refuse(jobs: Sequence[_Job], error: BaseException) -> None:
        for job in jobs:
            job.error = error

    def _answer(self, batch: Sequence[_Job]) -> None:
        try:
            for job in batch:
                if job.changes:
                    self._deliver(job.changes)
        finally:
            self._resolve(batch)

    @staticmethod
    def _resolve(batch: Sequence[_Job]) -> None:
        for job in batch:
            if job.future.done():  # its caller has gone
                continue
            if job.error is not None:
                job.future.set_exception(job.error)
            else:
                job.future.set_result(job.result)
