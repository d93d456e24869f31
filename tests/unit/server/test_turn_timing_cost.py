"""What the record of a turn costs the server: CPU, all threads together, none of it waiting for a disk."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from managed_agents.contracts.clock import SystemClock
from managed_agents.contracts.turn_timing import TURNS_KEPT
from managed_agents.eventlog.projection import Projection
from managed_agents.eventlog.records import Change, LoggedEvent, Session
from managed_agents.eventlog.sqlite.schema import open_database
from managed_agents.eventlog.sqlite.state import Entry, State
from managed_agents.eventlog.sqlite.turns import Turns
from managed_agents.server.metrics import Metrics
from managed_agents.server.services.turn_timings import TurnTimings
from support.requirements import requirement

COMMITS_MAX = 3
"""A turn with one tool call makes seven commits; its record must cost less than three of them with nothing in them."""

TURNS, ROUNDS = 20, 300
"""The quickest of many short rounds counts: CPU time, too, is longer while others share the machine."""

ID = "sesn_00000000000000000000000000000001"
IDLE = Session(
    id=ID,
    uid="u",
    namespace="n",
    name="s",
    created_at="t",
    epoch=1,
    released=False,
    delivered=(),
    rejected=(),
    projection=Projection(),
)
WAITING = IDLE._replace(projection=Projection(input_head=1))
RUNNING = IDLE._replace(projection=Projection(status="running", input_head=1))


def change(session: Session, *kinds: str, epoch: int | None = 1) -> Change:
    events = tuple(
        LoggedEvent(
            session=ID,
            position=number,
            id=f"e{number}",
            type=kind,
            epoch=epoch,
            processed_at="2026-01-01T00:00:00.000000Z",
            body=b"{}",
            private=None,
        )
        for number, kind in enumerate(kinds, start=1)
    )
    return Change(session_id=ID, session=session, events=events)


INPUT = change(WAITING, "user.message", epoch=None)
START = [["t3", 1.5]]
RESPONSE = [["t5", 900.25], ["t6", 600.5], ["t7", 300.75], ["t8", 250.125]]
TOOL = [["t10", 700.25], ["t11", 690.5], ["t12", 290.75], ["t13", 280.125]]
APPENDS: Sequence[tuple[Any, Change]] = (
    (START, change(RUNNING, "session.status_running", "session.thread_status_running", "span.model_request_start")),
    (RESPONSE, change(RUNNING, "agent.message", "agent.tool_use", "span.model_request_end")),
    (TOOL, change(RUNNING, "agent.tool_result")),
    (START, change(RUNNING, "span.model_request_start")),
    (RESPONSE, change(RUNNING, "agent.message", "span.model_request_end")),
)


class Written(State):
    """A state whose own rows are written: they are what the append costs anyway."""

    def flush(self) -> None:
        pass


class Bench:
    """The parts of a server that make and keep a record, on a database in memory."""

    def __init__(self) -> None:
        connection = open_database(None)
        self.state = Written(connection)
        connection.execute("INSERT INTO sessions VALUES (1, ?, 'u', 'n', 's', 't', 1, 0, x'7b7d')", (ID,))
        self.turns = Turns(self.state)
        self.timings = TurnTimings(SystemClock(), (self.turns.note, Metrics().turn))
        self.count = 0

    def turn(self, ended: Change) -> None:
        """Take a turn with one tool call, as the log and the harness's route tell of it."""
        self.timings.on_change(INPUT)
        for told, stored in APPENDS:
            self.timings.tell(ID, 1, told)
            self.timings.on_change(stored)
        self.timings.tell(ID, 1, [])
        self.timings.on_change(ended)

    @contextmanager
    def transaction(self) -> Iterator[Change]:
        """Give the end of the next turn; around the block is what its append costs anyway."""
        self.count += 1
        session, connection = IDLE._replace(projection=Projection(turns=self.count)), self.state.connection
        ended = change(session, "session.thread_status_idle", "session.usage", "session.status_idle")
        connection.execute("BEGIN IMMEDIATE")
        self.state.change(Entry(1, session), ended)
        yield ended
        connection.execute("COMMIT")
        self.turns.committed()


def round_of(bench: Bench) -> tuple[float, float]:
    """Return the CPU microseconds of one turn's record, and of the one commit around it."""
    spent, began = 0.0, time.process_time()
    for _ in range(TURNS):
        with bench.transaction() as ended:
            started = time.process_time()
            bench.turn(ended)
            bench.turns.flush()
            spent += time.process_time() - started
    around = time.process_time() - began - spent
    return spent / TURNS * 1_000_000, around / TURNS * 1_000_000


@requirement("turn-times")
def test_the_record_of_a_turn_costs_no_more_cpu_than_three_bare_commits() -> None:
    bench = Bench()
    records, commits = zip(*(round_of(bench) for _ in range(ROUNDS)), strict=True)
    record, commit = min(records), min(commits)
    print(f"\na turn's record costs {record:.1f} µs of CPU, the bare commit around it {commit:.1f} µs")
    assert len(bench.turns.stored(ID, TURNS_KEPT)) == TURNS_KEPT
    assert record < COMMITS_MAX * commit
