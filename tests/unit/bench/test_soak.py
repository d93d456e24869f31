"""The soak's figures: what the node tells becomes sums by kind of process, and a leak differs from a plateau."""

import pytest

from bench.soak.processes import figures_of
from bench.soak.series import trends

TOLD = """P 10 managed_agents.server
VmRSS:      100 kB
Threads:     4
descriptors: 20
W 4096 /data/log.sqlite-wal
W 4096 /data/log.sqlite-wal
W 100 /data/files.sqlite-wal
P 11 managed_agents.harness
VmRSS:      50 kB
Threads:     1
descriptors: 7
P 12 managed_agents.harness
VmRSS:      60 kB
Threads:     2
descriptors: 8
P 14 managed_agents.sandbox.supervisor
VmRSS:      5 kB
W  /data/gone.sqlite-wal

E 777"""


def test_figures_are_sums_over_the_processes_of_a_kind() -> None:
    assert figures_of(TOLD.splitlines()) == {
        "server.processes": 1,
        "server.rss_bytes": 102_400,
        "server.threads": 4,
        "server.descriptors": 20,
        "wal_bytes": 4196,
        "harness.processes": 2,
        "harness.rss_bytes": 112_640,
        "harness.threads": 3,
        "harness.descriptors": 15,
        "supervisor.processes": 1,
        "supervisor.rss_bytes": 5120,
        "etcd_bytes": 777,
    }


def test_a_leak_grows_and_a_plateau_with_spikes_does_not() -> None:
    samples = [
        (60.0 * minute, {"leak": 100.0 + minute, "flat": 100.0 + 50 * (minute % 7 == 0)}) for minute in range(60)
    ]
    leak, flat = trends(samples)
    assert [trend.name for trend in (leak, flat)] == ["leak", "flat"]
    assert leak.grows
    assert leak.per_hour == pytest.approx(60.0)
    assert not flat.grows
    assert flat.per_hour == 0.0


def test_a_slope_of_a_few_samples_is_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        trends([(0.0, {"leak": 1.0})])
