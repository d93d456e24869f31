"""Where the time of a turn went: its steps t1 to t16 (design §6), and the segments that they add up to. Pure.

A turn is a chain of steps in the order of time, and each step is charged with the time since the step before it. So
the steps of a turn, and with them its segments, add up to the whole turn, whatever was repeated. Times are whole
microseconds since t1 by one monotonic clock, the server's; another process tells how long ago something was, never
when, so no wall clock counts (I19).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

TURNS_KEPT = 50
"""Records of one session: 25 KB at most, and enough to see whether a slow turn was the exception."""

MARKS_MAX = 64
"""Steps told with one append; a harness reaches about eight between two of them."""


class Step(StrEnum):
    """A moment of a turn. What is "durable" is so at the commit in the server's log."""

    INPUT = "t1"
    """The client's event is durable and the session wants a harness."""
    LEASED = "t2"
    """A harness holds the lease and took the epoch; at 0 where one held it all along."""
    CONTEXT = "t3"
    """The context of the next request is known from the log."""
    REQUEST = "t4"
    """The first `span.model_request_start` is durable."""
    SENT = "t5"
    """The request goes to the proxy."""
    FIRST_DELTA = "t6"
    """The first content of the response, or the answer that has none."""
    LAST_DELTA = "t7"
    """The last content of the response."""
    STOPPED = "t8"
    """`message_stop`, or the end of a stream that had none."""
    RESPONSE = "t9"
    """The response's events are durable."""
    TOOL_SENT = "t10"
    """The sandbox is there and the call goes to it."""
    TOOL_STARTED = "t11"
    """The supervisor has sent the call on; halfway where the way there and back is not known apart."""
    TOOL_FINISHED = "t12"
    """The tool has ended, by the supervisor's journal."""
    TOOL_ANSWERED = "t13"
    """The harness has the result."""
    RESULT = "t14"
    """The tool's result is durable."""
    NEXT_REQUEST = "t15"
    """A further `span.model_request_start` is durable."""
    ENDED = "t16"
    """`session.status_idle` is durable."""
    PAUSED = "pause"
    """A pause before a request is repeated has ended."""


class Segment(StrEnum):
    """A part of a turn that somebody can do something about."""

    HARNESS = "harness_wait"
    CONTEXT = "context"
    MODEL_START = "first_token"
    STREAMING = "streaming"
    PAUSE = "retry_wait"
    SANDBOX = "sandbox_wait"
    TOOLS = "tools"
    COMMITS = "log_commits"


SEGMENT_OF: Mapping[Step, Segment] = {
    Step.INPUT: Segment.COMMITS,
    Step.LEASED: Segment.HARNESS,
    Step.CONTEXT: Segment.CONTEXT,
    Step.REQUEST: Segment.COMMITS,
    Step.SENT: Segment.CONTEXT,
    Step.FIRST_DELTA: Segment.MODEL_START,
    Step.LAST_DELTA: Segment.STREAMING,
    Step.STOPPED: Segment.STREAMING,
    Step.RESPONSE: Segment.COMMITS,
    Step.TOOL_SENT: Segment.SANDBOX,
    Step.TOOL_STARTED: Segment.TOOLS,
    Step.TOOL_FINISHED: Segment.TOOLS,
    Step.TOOL_ANSWERED: Segment.TOOLS,
    Step.RESULT: Segment.COMMITS,
    Step.NEXT_REQUEST: Segment.COMMITS,
    Step.ENDED: Segment.COMMITS,
    Step.PAUSED: Segment.PAUSE,
}
"""To which segment the time goes that leads up to a step."""

TOLD = frozenset(
    {
        Step.CONTEXT,
        Step.SENT,
        Step.FIRST_DELTA,
        Step.LAST_DELTA,
        Step.STOPPED,
        Step.TOOL_SENT,
        Step.TOOL_STARTED,
        Step.TOOL_FINISHED,
        Step.TOOL_ANSWERED,
        Step.PAUSED,
    }
)
"""What only the harness knows; the rest the server sees for itself."""


@dataclass(slots=True)
class StepTime:
    """A step of one turn, in microseconds. Its `TurnClock` counts in it, to spare a copy of each; nobody else does.

    `at` is when it was first reached, since t1; `count` how often; `total` and `most` the time charged to it, together
    and at once.
    """

    at: int
    count: int
    total: int
    most: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnTiming:
    """The record of one turn. `turn` counts the session's turns from 1, `ended_at` is the time of its last event."""

    session: str
    thread: str
    turn: int
    first_position: int
    last_position: int
    ended_at: str
    steps: Mapping[Step, StepTime]

    @property
    def total(self) -> int:
        """Return the microseconds of the whole turn."""
        return sum(step.total for step in self.steps.values())


class TurnClock:
    """The chain of one turn while it runs. Times are seconds of one monotonic clock."""

    __slots__ = ("_last", "_start", "_steps")

    def __init__(self, at: float) -> None:
        self._start = at
        self._last = 0
        self._steps = {Step.INPUT: StepTime(0, 1, 0, 0)}

    def mark(self, step: Step, at: float) -> None:
        """Reach a step; one that would lie before the step before it is reached with that."""
        self._reach(step, int((at - self._start) * 1_000_000 + 0.5))

    def tell(self, told: object, arrived: float) -> None:
        """Reach what a harness told when it was heard: a list of `[step, milliseconds ago]`.

        What lies behind the step before, or in the future, moves to there; what is no such pair is left out.
        """
        now = (arrived - self._start) * 1000
        for item in told[:MARKS_MAX] if isinstance(told, list) else ():
            try:
                name, ago = item
                step, reached = _TOLD[name], int((now - ago if ago > 0 else now) * 1000 + 0.5)
            except (TypeError, ValueError, KeyError, OverflowError):
                continue
            self._reach(step, reached)

    def _reach(self, step: Step, reached: int) -> None:
        last = self._last
        spent = reached - last
        if spent < 0:
            reached, spent = last, 0
        self._last = reached
        known = self._steps.get(step)
        if known is None:
            self._steps[step] = StepTime(reached, 1, spent, spent)
            return
        known.count += 1
        known.total += spent
        if spent > known.most:
            known.most = spent

    def end(self, at: float) -> Mapping[Step, StepTime]:
        """Reach the last step and return all; a lease that nobody waited for was there from the beginning."""
        self.mark(Step.ENDED, at)
        self._steps.setdefault(Step.LEASED, StepTime(0, 1, 0, 0))
        return self._steps


def segments_of(timing: TurnTiming) -> dict[Segment, int]:
    """Return the microseconds of each segment that the turn had; they add up to its `total`."""
    found: dict[Segment, int] = {}
    for step, times in timing.steps.items():
        segment = SEGMENT_OF[step]
        found[segment] = found.get(segment, 0) + times.total
    return found


_TOLD: Mapping[str, Step] = {step.value: step for step in TOLD}
