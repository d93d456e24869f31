"""Token buckets: what a tenant may ask for, and when there is room again."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from managed_agents.contracts.limits import EVENT_BODY_BYTES_MAX
from managed_agents.server.services.buckets import TokenBucket
from managed_agents.server.services.errors import RateLimitedError
from managed_agents.server.services.limits import BODY_BYTES_MAX, TENANTS_MAX, Limits
from support.clock import ManualClock


def limits(clock: ManualClock, *, creates: int = 60, streams: int = 2) -> Limits:
    return Limits(clock=clock, per_minute={"creates": creates, "reads": 0, "writes": 1}, streams_max=streams)


def test_a_minutes_worth_goes_at_once_and_then_evenly() -> None:
    clock = ManualClock()
    held = limits(clock)
    for _ in range(60):
        held.admit("team-a", "creates")
    with pytest.raises(RateLimitedError) as refusal:
        held.admit("team-a", "creates")
    assert refusal.value.delay_seconds == pytest.approx(1)
    clock.advance(1)
    held.admit("team-a", "creates")
    with pytest.raises(RateLimitedError):
        held.admit("team-a", "creates")


def test_tenants_and_kinds_do_not_take_from_each_other() -> None:
    held = limits(ManualClock(), creates=1)
    held.admit("team-a", "creates")
    held.admit("team-b", "creates")
    held.admit("team-a", "writes")
    for _ in range(1000):
        held.admit("team-a", "reads")  # 0: no limit
    with pytest.raises(RateLimitedError):
        held.admit("team-b", "creates")


def test_streams_are_counted_while_they_are_open() -> None:
    held = limits(ManualClock())
    with held.stream("team-a"), held.stream("team-b"):
        with held.stream("team-a"), pytest.raises(RateLimitedError), held.stream("team-a"):
            pass
        with held.stream("team-a"):
            pass
    assert held._streams == {}


def test_one_tenant_holds_half_of_the_room_for_bodies_and_others_go_on() -> None:
    held = limits(ManualClock())
    with held.body("team-a", None), held.body("team-a", 1 << 60):  # unknown and absurd sizes count as the largest
        with pytest.raises(RateLimitedError) as refusal, held.body("team-a", 1):
            pass
        assert refusal.value.delay_seconds == 1
        with held.body("team-b", EVENT_BODY_BYTES_MAX), held.body("team-c", 1 << 20):
            with pytest.raises(RateLimitedError), held.body("team-b", 1):
                pass
            with held.body("team-a", 0), held.body("team-d", 0), held.body("team-d", 0):
                pass
    with held.body("team-a", EVENT_BODY_BYTES_MAX), held.body("team-a", EVENT_BODY_BYTES_MAX):
        pass
    assert held._body_bytes == {}


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(min_value=1, max_value=1 << 26)), max_size=60))
def test_whatever_is_held_a_tenant_that_holds_nothing_finds_room(bodies: list[tuple[str, int]]) -> None:
    held = limits(ManualClock())
    with contextlib.ExitStack() as stack:
        for tenant, size in bodies:
            with contextlib.suppress(RateLimitedError):
                stack.enter_context(held.body(tenant, size))
        assert sum(held._body_bytes.values()) < BODY_BYTES_MAX
        with held.body("new", BODY_BYTES_MAX >> 10):
            pass


def test_memory_is_bounded_by_forgetting_whoever_was_silent_longest() -> None:
    held = limits(ManualClock(), creates=1)
    for number in range(4 * TENANTS_MAX):
        held.admit(f"team-{number}", "creates")
    assert len(held._buckets) <= 3 * TENANTS_MAX


@given(st.lists(st.floats(min_value=0, max_value=100), max_size=200), st.integers(min_value=1, max_value=500))
def test_a_bucket_never_gives_more_than_its_rate_and_one_minutes_burst(gaps: list[float], per_minute: int) -> None:
    bucket, now, taken = TokenBucket(per_minute, float(per_minute), 0.0), 0.0, 0
    for gap in gaps:
        now += gap
        wait = bucket.take(now)
        assert wait <= 60 / per_minute + 1e-6
        taken += wait == 0
    assert taken <= per_minute + now * per_minute / 60 + 1e-6
