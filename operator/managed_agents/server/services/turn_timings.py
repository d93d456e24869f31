"""Every turn's record, made while it runs: the server's own commits, and between them what the harness tells.

The server hears of each commit in order (`on_change`) and reads its own monotonic clock then. A harness tells with an
append how long ago it reached its steps; counted back from that append's arrival, they fall between two commits. A
turn begins with the commit after which the session wants a harness and ends with `session.status_idle`. One that was
under way when the server started, or that ends with its session, has no record.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from managed_agents.contracts.clock import Clock
from managed_agents.contracts.events import types
from managed_agents.contracts.ids import SessionId, primary_thread_id_for
from managed_agents.contracts.turn_timing import Step, TurnClock, TurnTiming
from managed_agents.eventlog.records import Change, LoggedEvent, Session

OPEN_MAX = 20_000
"""Turns that are timed at once, 1 to 2 KB each; those beyond have no record."""

Listener = Callable[[TurnTiming], None]
"""Hears of each turn at its end, on the event loop. An exporter of traces would be one more."""


@dataclass(slots=True)
class _Open:
    """A turn that runs."""

    clock: TurnClock
    first_position: int
    epoch: int
    requests: int = 0
    told: tuple[object, float] | None = None


class TurnTimings:
    """The turns that run now."""

    def __init__(self, clock: Clock, listeners: Sequence[Listener]) -> None:
        self._now = clock.monotonic
        self._listeners = listeners
        self._open: dict[str, _Open] = {}

    def __len__(self) -> int:
        return len(self._open)

    def tell(self, session_id: str, epoch: int | None, told: object) -> None:
        """Take in what a harness tells with an append that arrived now; it counts once the append is stored.

        Each append tells anew, so what came with one that was refused, or is a repeat, does not count.
        """
        turn = self._open.get(session_id)
        if turn is not None and epoch == turn.epoch:  # an older one's append is refused
            turn.told = (told, self._now())

    def on_change(self, change: Change) -> None:
        """Take a change of the log."""
        session, turn = change.session, self._open.get(change.session_id)
        if session is None or session.projection.status == "terminated":
            self._open.pop(change.session_id, None)
        elif turn is not None:
            self._go_on(turn, change, session)
        elif change.events and _begins(change.events, session):
            self._begin(session, change.events[0].position, self._now())

    def _begin(self, session: Session, first_position: int, at: float) -> None:
        if len(self._open) < OPEN_MAX:
            self._open[session.id] = _Open(TurnClock(at), first_position, session.epoch)

    def _go_on(self, turn: _Open, change: Change, session: Session) -> None:
        if session.epoch > turn.epoch and not session.released:
            turn.epoch = session.epoch
            turn.clock.mark(Step.LEASED, self._now())
        if not change.events or change.events[0].epoch is None:
            return
        if turn.told is not None:
            turn.clock.tell(*turn.told)
            turn.told = None
        now = self._now()
        step = _step_of(change.events, turn)
        if step is Step.ENDED:
            self._end(turn, change.events, session, now)
        elif step is not None:
            turn.clock.mark(step, now)

    def _end(self, turn: _Open, events: Sequence[LoggedEvent], session: Session, now: float) -> None:
        del self._open[session.id]
        idle = next(event for event in reversed(events) if event.type == types.STATUS_IDLE)
        timing = TurnTiming(
            session=session.id,
            thread=primary_thread_id_for(SessionId(session.id)),
            turn=session.projection.turns,
            first_position=turn.first_position,
            last_position=idle.position,
            ended_at=idle.processed_at or "",
            steps=turn.clock.end(now),
        )
        if session.wanted:  # the same commit opened the next one, with input that waited
            self._begin(session, idle.position + 1, now)
        for listener in self._listeners:
            listener(timing)


def _begins(events: Sequence[LoggedEvent], session: Session) -> bool:
    """Tell whether a turn begins here; one that runs and has no record was there before this server started."""
    return session.wanted and session.projection.status == "idle" and events[0].epoch is None


_STEPS = {
    types.STATUS_IDLE: Step.ENDED,
    types.REQUEST_START: Step.REQUEST,
    types.REQUEST_END: Step.RESPONSE,
    types.AGENT_TOOL_RESULT: Step.RESULT,
}


def _step_of(events: Sequence[LoggedEvent], turn: _Open) -> Step | None:
    """Name the step that an append of the harness reaches, by the last of its events that says so; null for none.

    The time of an append that is no step, as a remark on a repository, goes to the step that comes next.
    """
    for event in reversed(events):
        step = _STEPS.get(event.type)
        if step is Step.REQUEST:
            turn.requests += 1
            return Step.REQUEST if turn.requests == 1 else Step.NEXT_REQUEST
        if step is not None:
            return step
    return None
