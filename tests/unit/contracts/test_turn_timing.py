"""The chain of a turn: what each step is charged with, and that nothing is lost between them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from managed_agents.contracts.turn_timing import (
    MARKS_MAX,
    SEGMENT_OF,
    Segment,
    Step,
    StepTime,
    TurnClock,
    TurnTiming,
    segments_of,
)


def timing_of(clock: TurnClock, at: float) -> TurnTiming:
    return TurnTiming(
        session="sesn_1",
        thread="sthr_1",
        turn=1,
        first_position=1,
        last_position=9,
        ended_at="2026-01-01T00:00:00.000000Z",
        steps=clock.end(at),
    )


def test_each_step_is_charged_with_the_time_since_the_step_before() -> None:
    clock = TurnClock(100.0)
    for step, at in ((Step.LEASED, 100.25), (Step.REQUEST, 100.5), (Step.FIRST_DELTA, 102.5)):
        clock.mark(step, at)
    timing = timing_of(clock, 103.0)
    assert timing.steps[Step.FIRST_DELTA] == StepTime(at=2_500_000, count=1, total=2_000_000, most=2_000_000)
    assert segments_of(timing) == {
        Segment.HARNESS: 250_000,
        Segment.COMMITS: 750_000,
        Segment.MODEL_START: 2_000_000,
    }
    assert timing.total == timing.steps[Step.ENDED].at == 3_000_000


def test_repeated_steps_keep_their_first_time_their_number_their_sum_and_the_longest() -> None:
    clock = TurnClock(0.0)
    for at in (1.0, 1.5, 4.5):
        clock.mark(Step.TOOL_ANSWERED, at)
    assert clock.end(5.0)[Step.TOOL_ANSWERED] == StepTime(at=1_000_000, count=3, total=4_500_000, most=3_000_000)


def test_a_step_told_late_goes_back_behind_nothing() -> None:
    clock = TurnClock(0.0)
    clock.mark(Step.REQUEST, 2.0)
    clock.mark(Step.SENT, 1.0)
    assert clock.end(3.0)[Step.SENT] == StepTime(at=2_000_000, count=1, total=0, most=0)


def test_a_turn_whose_harness_was_there_waited_for_none() -> None:
    clock = TurnClock(5.0)
    assert clock.end(6.0)[Step.LEASED] == StepTime(at=0, count=1, total=0, most=0)


moments = st.floats(min_value=-1e6, max_value=1e6, allow_nan=False)


@given(moments, st.lists(st.tuples(st.sampled_from(list(Step)), moments)), moments)
def test_segments_add_up_to_the_whole_turn(start: float, marks: list[tuple[Step, float]], end: float) -> None:
    clock = TurnClock(start)
    for step, at in marks:
        clock.mark(step, at)
    last = max([start, end, *(at for _, at in marks)])
    timing = timing_of(clock, last)
    assert sum(segments_of(timing).values()) == timing.total
    assert timing.total == round((last - start) * 1_000_000)


def test_every_step_has_a_segment_and_every_segment_a_step() -> None:
    assert set(SEGMENT_OF) == set(Step)
    assert set(SEGMENT_OF.values()) == set(Segment)
    assert {f"t{number}" for number in range(1, 17)} <= {step.value for step in Step}


def test_what_a_harness_tells_is_counted_back_from_its_arrival() -> None:
    clock = TurnClock(10.0)
    clock.tell([["t5", 750], ["t6", 500.5]], 11.0)
    clock.mark(Step.RESPONSE, 11.25)
    steps = clock.end(12.0)
    assert {name: steps[name].at for name in (Step.SENT, Step.FIRST_DELTA, Step.RESPONSE)} == {
        Step.SENT: 250_000,
        Step.FIRST_DELTA: 499_500,
        Step.RESPONSE: 1_250_000,
    }


STRANGE = [
    ["t1", 5],
    ["t5", "1"],
    ["t5", None],
    ["t5"],
    "t5",
    None,
    ["t99", 1],
    [["t5"], 1],
    {"t5": 1},
]


@pytest.mark.parametrize("told", [STRANGE, None, {"t5": 1}, "t5", 7, [["t5", math.inf]]])
def test_what_is_no_step_of_a_harness_is_left_out(told: object) -> None:
    clock = TurnClock(0.0)
    clock.tell(told, 1.0)
    assert set(clock.end(2.0)) == {Step.INPUT, Step.LEASED, Step.ENDED}


def test_what_is_told_stays_between_the_step_before_and_its_arrival() -> None:
    clock = TurnClock(0.0)
    clock.mark(Step.REQUEST, 1.0)
    clock.tell([["t5", 1e300], ["t6", -5000]], 2.0)
    steps = clock.end(3.0)
    assert (steps[Step.SENT].at, steps[Step.FIRST_DELTA].at) == (1_000_000, 2_000_000)


def test_one_append_tells_so_many_steps_and_no_more() -> None:
    clock = TurnClock(0.0)
    clock.tell([["t5", 0]] * (MARKS_MAX + 1), 1.0)
    assert clock.end(2.0)[Step.SENT].count == MARKS_MAX
