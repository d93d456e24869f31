"""The scale bench's figures: what counters say of writes, what moments say of a load, and which rate was carried."""

from collections import deque
from pathlib import Path

import pytest

from bench.scale import commands
from bench.scale.commands import Ports, Rates
from bench.scale.figures import Load, each, highest_held, quantiles_of, total_of, writes_between, writes_of
from bench.scale.installation import shares_of
from bench.scale.tally import Tally, spans

METRICS = """# TYPE apiserver_request_total counter
apiserver_request_total{code="200",dry_run="",resource="sessions",subresource="status",verb="PATCH"} 5
apiserver_request_total{code="201",dry_run="",resource="sessions",subresource="",verb="POST"} 2
apiserver_request_total{code="409",dry_run="",resource="sessions",subresource="",verb="POST"} 7
apiserver_request_total{code="201",dry_run="All",resource="sessions",subresource="",verb="POST"} 7
apiserver_request_total{code="200",dry_run="",resource="sessions",subresource="",verb="GET"} 90
apiserver_request_total{code="201",dry_run="",resource="tokenreviews",subresource="",verb="POST"} 4
apiserver_request_total{code="200",dry_run="",resource="leases",subresource="",verb="PUT"} 50
apiserver_request_total{code="201",dry_run="",resource="events",subresource="",verb="POST"} 6
operator_queue_keys 3.0
"""


def held(rate: float, *, leased: int = 100, p99_ms: float = 20.0) -> Load:
    return Load(rate=rate, asked=100, leased=leased, p99_ms=p99_ms)


def test_only_writes_that_were_made_are_counted() -> None:
    counted = writes_of(METRICS)

    assert counted == {"sessions/status": 5, "sessions": 2, "tokenreviews": 4, "leases": 50, "events": 6}
    assert total_of(METRICS, "operator_queue_keys") == 3


def test_reviews_events_and_the_nodes_own_writes_are_no_writes_of_a_wake() -> None:
    found = writes_between({"sessions": 1, "leases": 10}, writes_of(METRICS))

    assert (found.stored, found.reviews, found.events) == (6, 4, 6)
    assert found.by_resource == {"sessions/status": 5, "sessions": 1}


def test_the_highest_rate_is_the_last_before_the_first_that_was_not_carried() -> None:
    assert highest_held([held(50), held(25), held(100, leased=90), held(200)]) == 50
    assert highest_held([held(25, p99_ms=151.0), held(50)]) == 0


def test_a_load_without_a_lease_has_not_held() -> None:
    assert quantiles_of([]) == {"count": 0}
    assert not held(1, leased=0, p99_ms=float("inf")).has_held


def test_spans_count_from_the_moment_at_which_the_message_was_due() -> None:
    tally = Tally(idle=deque(["a", "b"]))
    first = tally.posted("a", 10.0)
    tally.posted("b", 11.0)
    first.leased_at, first.first_at = 10.5, 11.0

    assert spans(tally.wakes, "leased_at") == [500.0]
    assert spans(tally.wakes, "first_at") == [1000.0]


async def test_a_load_has_drained_once_every_wake_has_ended() -> None:
    tally = Tally(idle=deque())
    tally.posted("a", 0.0)

    assert not await tally.drained(0.01)
    tally.ended("a")
    assert await tally.drained(5.0)


@pytest.mark.parametrize(("total", "shares"), [(40, [40]), (100, [100]), (250, [100, 100, 50]), (0, [])])
def test_a_pool_is_divided_over_environments_within_the_schemas_bound(total: int, shares: list[int]) -> None:
    assert shares_of(total) == shares


def test_controllers_keep_their_own_rates_unless_told_otherwise() -> None:
    program, folder = Path("/bin/program"), Path("/folder")
    usual = commands.controller_manager(program, folder, folder / "kubeconfig", Rates())
    raised = commands.controller_manager(program, folder, folder / "kubeconfig", Rates(qps=500))

    assert not any(word.startswith("--kube-api-") for word in usual)
    assert set(raised) - set(usual) == {"--kube-api-qps=500", "--kube-api-burst=1000"}


def test_everything_listens_on_loopback_alone() -> None:
    ports, folder = Ports(etcd=1, etcd_peer=2, apiserver=3, public=4, internal=5, operator=6), Path("/folder")

    assert "--bind-address=127.0.0.1" in commands.apiserver(Path("/bin/a"), folder, ports)
    assert "--host=127.0.0.1" in commands.server("python", folder, ports)
    assert all("127.0.0.1" in word for word in commands.etcd(Path("/bin/e"), folder, ports) if "-urls=" in word)


def test_a_figure_of_nothing_is_nothing() -> None:
    assert each(5.0, 0) == 0.0
