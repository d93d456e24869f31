"""Records of turns, as rows: written with whatever transaction comes next, never with one of their own.

So they cost the message path no fsync. A crash loses those that no transaction has taken along; that is allowed,
because they say how long something took and nothing that anybody acts upon.
"""

import contextlib
import threading
from collections.abc import Sequence

import apsw
import orjson

from managed_agents.contracts.errors import NotFoundError
from managed_agents.contracts.turn_timing import TURNS_KEPT, Step, StepTime, TurnTiming
from managed_agents.eventlog.records import Change
from managed_agents.eventlog.sqlite.state import State

_PRUNE_EVERY = 10
"""Turns to one that looks for rows to drop; so that many more than `TURNS_KEPT` may lie in the table."""


class Turns:
    """The table of turns, and `State` with it: one unit of each transaction.

    `note` and `waiting` are called on the event loop, all else on the database thread.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._lock = threading.Lock()
        self._waiting: list[TurnTiming] = []
        self._taken = 0

    def note(self, timing: TurnTiming) -> None:
        """Keep a record in memory until the next transaction."""
        with self._lock:
            self._waiting.append(timing)

    def waiting(self, session_id: str | None = None) -> list[TurnTiming]:
        """Return what is in memory only, of all sessions or of one."""
        with self._lock:
            return [timing for timing in self._waiting if session_id in (None, timing.session)]

    def stored(self, session_id: str, limit: int) -> list[TurnTiming]:
        """Return a session's newest rows, newest first. Raises: NotFoundError."""
        sid = self._state.entry(session_id).sid
        rows = self._state.connection.execute(
            "SELECT turn, record FROM turns WHERE sid = ? ORDER BY turn DESC LIMIT ?", (sid, min(limit, TURNS_KEPT))
        )
        return [_timing_from(session_id, turn, record) for turn, record in rows]

    def flush(self) -> None:
        """Add the records that wait to the transaction."""
        self._state.flush()
        waiting = self.waiting()
        self._taken = len(waiting)
        for timing in waiting:
            with contextlib.suppress(NotFoundError):  # deleted meanwhile
                self._write(self._state.connection, self._state.entry(timing.session).sid, timing)

    def committed(self) -> list[Change]:
        """Forget what was written."""
        self._drop()
        return self._state.committed()

    def rolled_back(self) -> None:
        """Forget it as well: a record that cannot be stored must not fail the next transaction too."""
        self._drop()
        self._state.rolled_back()

    def _drop(self) -> None:
        if self._taken:
            with self._lock:
                del self._waiting[: self._taken]
            self._taken = 0

    @staticmethod
    def _write(connection: apsw.Connection, sid: int, timing: TurnTiming) -> None:
        connection.execute("INSERT OR REPLACE INTO turns VALUES (?, ?, ?)", (sid, timing.turn, _record_of(timing)))
        if timing.turn % _PRUNE_EVERY == 0:
            connection.execute("DELETE FROM turns WHERE sid = ? AND turn <= ?", (sid, timing.turn - TURNS_KEPT))


def newest(waiting: Sequence[TurnTiming], stored: Sequence[TurnTiming], limit: int) -> list[TurnTiming]:
    """Return both together, each turn once, newest first."""
    found = {timing.turn: timing for timing in (*stored, *waiting)}
    return [found[turn] for turn in sorted(found, reverse=True)[:limit]]


def _record_of(timing: TurnTiming) -> bytes:
    head = [timing.thread, timing.first_position, timing.last_position, timing.ended_at]
    return orjson.dumps([*head, [(step, t.at, t.count, t.total, t.most) for step, t in timing.steps.items()]])


def _timing_from(session_id: str, turn: int, record: bytes) -> TurnTiming:
    thread, first, last, ended_at, steps = orjson.loads(record)
    return TurnTiming(
        session=session_id,
        thread=thread,
        turn=turn,
        first_position=first,
        last_position=last,
        ended_at=ended_at,
        steps={Step(name): StepTime(*times) for name, *times in steps},
    )
