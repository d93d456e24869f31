"""How large a pool is, what it costs, and which of its members go: pure rules."""

from datetime import UTC, datetime, timedelta

import pytest

from managed_agents.operator.pools.quantities import Requests, parse_quantity
from managed_agents.operator.pools.sizing import QUIET, WINDOW, Bounds, size_for
from support.requirements import requirement

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def takes(*seconds_ago: float) -> list[datetime]:
    return [NOW - timedelta(seconds=seconds) for seconds in seconds_ago]


@requirement("pools")
@pytest.mark.parametrize(
    ("least", "most", "ago", "wanted"),
    [
        (0, 0, [1.0], 0),
        (2, 2, [], 2),
        (2, 2, [1.0, 2.0, 3.0], 2),
        (1, 4, [1.0, 2.0, 3.0], 3),
        (1, 4, [1.0] * 50, 4),
        (0, 4, [59.9, 60.0], 1),
    ],
)
def test_size_is_the_demand_of_a_minute_between_the_bounds(
    least: int, most: int, ago: list[float], wanted: int
) -> None:
    assert size_for(Bounds(least=least, most=most), takes(*ago), NOW, NOW).wanted == wanted


@requirement("pools")
def test_size_is_looked_at_again_when_it_may_shrink() -> None:
    bounds = Bounds(least=1, most=3)
    assert size_for(bounds, takes(50, 10, 5), NOW, NOW).recheck_seconds == 10
    assert size_for(bounds, takes(50, 40, 30, 20), NOW, NOW).recheck_seconds == 20  # three are left until then
    assert size_for(bounds, takes(50), NOW - QUIET / 2, NOW).recheck_seconds == QUIET.total_seconds() / 2
    assert size_for(bounds, (), NOW - QUIET, NOW).wanted == 0
    assert WINDOW < QUIET


def test_bounds_come_from_the_environment_and_the_least_wins_over_a_smaller_maximum() -> None:
    assert Bounds.of(None) == Bounds(least=0, most=0)
    assert Bounds.of({"warmReplicas": 2}) == Bounds(least=2, most=2)
    assert Bounds.of({"maxWarmReplicas": 3}) == Bounds(least=0, most=3)
    assert Bounds.of({"warmReplicas": 1, "maxWarmReplicas": 3}).plus(Bounds(least=1, most=1)) == Bounds(least=2, most=4)


@requirement("pools")
def test_requests_of_all_containers_are_added_up() -> None:
    spec = {
        "initContainers": [{"resources": {"requests": {"cpu": "10m", "memory": "48Mi"}}}],
        "containers": [{"resources": {"requests": {"cpu": "0.5", "memory": "1Gi"}}}, {}],
    }
    assert Requests.of_pod(spec).times(2).manifest() == {"cpu": "1020m", "memory": "2144Mi"}
    with pytest.raises(ValueError, match="no quantity"):
        parse_quantity("lots")
