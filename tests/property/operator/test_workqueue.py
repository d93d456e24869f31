"""Whatever the order of events: every added key runs afterwards, and no key runs twice at once."""

from hypothesis import given, settings
from hypothesis import strategies as st

from managed_agents.operator.workqueue import QueueState

KEYS = st.sampled_from("abcd")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), KEYS),
        st.tuples(st.just("later"), KEYS, st.integers(0, 20)),
        st.tuples(st.just("take")),
        st.tuples(st.just("done"), KEYS),
        st.tuples(st.just("tick"), st.integers(1, 10)),
    ),
    max_size=60,
)


@given(STEPS)
@settings(max_examples=300, deadline=None)
def test_no_key_is_lost_and_none_runs_twice_at_once(steps: list[tuple[object, ...]]) -> None:
    state: QueueState[str] = QueueState()
    running: set[str] = set()
    owed: set[str] = set()
    now = 0
    for step in steps:
        match step:
            case ("add", str(key)):
                state.add(key)
                owed.add(key)
            case ("later", str(key), int(seconds)):
                state.add_at(key, now + seconds)
                owed.add(key)
            case ("take",):
                taken = state.take(now)
                if taken is not None:
                    assert taken not in running
                    running.add(taken)
                    owed.discard(taken)
            case ("done", str(key)) if key in running:
                running.discard(key)
                state.done(key)
            case ("tick", int(seconds)):
                now += seconds
    for key in sorted(running):
        state.done(key)
    ran = set()
    while (last := state.take(now + 1000)) is not None:
        ran.add(last)
        state.done(last)
    assert owed <= ran
    assert not state.ready
    assert state.next_due() is None
