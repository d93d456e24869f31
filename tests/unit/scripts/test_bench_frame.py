import asyncio
import time
from pathlib import Path

import pytest

from bench import results
from bench.pacing import in_turn, moments, open_loop, since, until
from bench.rows.b07_b09_streams import thinned
from bench.rows.b16_operator_recovery import reconciled
from bench.rows.b18_idle_density import writes_of
from bench.rows.b25_admission import largest
from bench.rows.costs import costs
from bench.rows.tools import bash, calls_of, round_trips
from bench.runner import run
from bench.stage import Order, Sample, Samples, Side, Stage
from bench.world.pinning import below, parents
from bench.world.processes import Usage, pod_of, ticks_of, usages
from support.requirements import requirement

UID = "0f9a1b2c-3d4e-5f60-7182-93a4b5c6d7e8"


async def test_a_late_moment_stays_as_it_was_due() -> None:
    found = []
    async for due in moments(3, per_second=1000.0):
        found.append(due)
        time.sleep(0.01)  # noqa: ASYNC251 - the loop is held up on purpose
    assert found[1] - found[0] == pytest.approx(0.001)
    assert found[2] - found[0] == pytest.approx(0.002)


async def test_an_open_loop_does_not_wait_for_what_still_runs() -> None:
    running, most = 0, 0
    gate = asyncio.Event()

    async def work(due: float) -> float:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 5:
            gate.set()
        await gate.wait()
        return since(due)

    async with asyncio.timeout(5):
        assert len(await open_loop(5, 1000.0, work)) == 5
    assert most == 5


async def test_the_floor_is_measured_beside_itself_before_path_and_floor_take_turns() -> None:
    async def path(_: float) -> float:
        return 2.0

    async def floor(_: float) -> float:
        return 1.0

    found = [s.side async for s in in_turn("line", path, floor, count=2, per_second=1000.0, twins=2)]
    assert found == [Side.TWIN, Side.TWIN, Side.PATH, Side.FLOOR, Side.PATH, Side.FLOOR]


async def test_a_wait_for_what_never_comes_ends() -> None:
    async def never() -> bool:
        return False

    with pytest.raises(TimeoutError):
        await until(never, seconds=0.01, every=0.001)


async def good(order: Order) -> Samples:
    for value in range(order.count(2)):
        yield Sample(case="line", value=float(value))


async def bad(_: Order) -> Samples:
    yield Sample(case="line", value=1.0)
    raise RuntimeError("no luck")


async def endless(_: Order) -> Samples:
    yield Sample(case="line", value=1.0)
    await asyncio.Event().wait()


def text_of(folder: Path, stage: str) -> str:
    (path,) = folder.glob(f"{stage}-*")
    return path.read_text()


def stage(name: str, alone: object, seconds: float = 5.0, *, warm: bool = False) -> Stage:
    return Stage(
        id=name, title="t", path="p", floor="f", target="t", seconds_max=seconds, alone=alone, needs_warm=warm  # type: ignore[arg-type] # an async generator of this module
    )  # fmt: skip


@requirement("bench-kept")
async def test_a_stage_that_fails_or_never_ends_does_not_stop_the_next(tmp_path: Path) -> None:
    said: list[str] = []
    stages = [stage("B90", bad), stage("B91", endless, seconds=0.02), stage("B92", good)]
    failed = await run(stages, Order(), said.append, tmp_path)
    assert set(failed) == {"B90", "B91"}
    assert "no luck" in failed["B90"]
    kept = results.latest(tmp_path)
    assert [sample.value for sample in kept["B92"].samples] == [0.0, 1.0]
    assert set(kept) == {"B92"}
    assert '"value": 1.0' in text_of(tmp_path, "B90"), "what was measured until then is kept"


async def test_what_needs_warm_pods_is_left_out_of_a_cold_run(tmp_path: Path) -> None:
    said: list[str] = []
    assert await run([stage("B93", good, warm=True)], Order(), said.append, tmp_path) == {}
    assert "needs --warm" in said[0]
    assert results.latest(tmp_path) == {}


@pytest.mark.parametrize(
    "path",
    [
        f"11:cpu:/managed-agents/x/kubelet/kubepods/burstable/pod{UID}/aa",
        f"0::/kubelet.slice/kubelet-kubepods-pod{UID.replace('-', '_')}.slice/cri-containerd-aa.scope",
    ],
)
def test_a_process_belongs_to_the_pod_that_its_cgroup_names(path: str) -> None:
    assert pod_of(path) == UID
    assert pod_of("0::/system.slice/etcd.service") is None


def test_cpu_is_user_and_system_time_of_a_process_and_its_ended_children() -> None:
    assert ticks_of("7 (a) b) S 1 1 1 0 -1 4 0 0 0 0 10 20 3 4 20 0 1 0 5 6 7") == 37


def test_usage_is_added_up_over_a_pod_and_a_process_that_has_ended_is_passed_over(tmp_path: Path) -> None:
    for pid in ("10", "11", "12"):
        folder = tmp_path / pid
        folder.mkdir()
        (folder / "cgroup").write_text(f"0::/kubepods/pod{UID}/{pid}\n")
        (folder / "stat").write_text(f"{pid} (python) S 1 1 1 0 -1 4 0 0 0 0 100 0 0 0 20 0 1 0 5 6 7")
        if pid != "12":
            (folder / "smaps_rollup").write_text("0-1 ---p [rollup]\nRss: 9 kB\nPss:       4 kB\n")
    assert usages(tmp_path)[UID] == Usage(cpu_seconds=2.0, bytes=8192, processes=2)


def test_thinning_keeps_the_largest_and_the_shape() -> None:
    kept = thinned([float(value) for value in range(100_000)], most=1000)
    assert len(kept) == 1000
    assert kept[-1] == 99_999.0
    assert kept[500] == pytest.approx(50_000, rel=0.01)
    assert list(thinned([])) == []


def test_round_trips_are_from_a_use_to_its_own_result() -> None:
    def event(kind: str, milliseconds: int, **more: str) -> dict[str, object]:
        return {"type": kind, "processed_at": f"2026-01-01T00:00:00.{milliseconds:03}000Z", **more}

    events = [
        event("agent.tool_use", 100, id="a"),
        event("agent.tool_use", 100, id="b"),
        event("agent.tool_result", 110, tool_use_id="b"),
        event("agent.tool_result", 130, tool_use_id="a"),
    ]
    assert round_trips(events) == [pytest.approx(10.0, abs=0.01), pytest.approx(30.0, abs=0.01)]


def test_writes_are_counted_of_our_kinds_and_no_dry_run() -> None:
    metrics = "\n".join(
        f'apiserver_request_total{{code="200",dry_run="{dry}",group="{group}",resource="{kind}",verb="{verb}"}} {count}'
        for dry, group, kind, verb, count in (
            ("", "managedagents.dev", "sessions", "PATCH", 3),
            ("All", "managedagents.dev", "sessions", "POST", 100),
            ("", "managedagents.dev", "sessions", "GET", 100),
            ("", "coordination.k8s.io", "leases", "PUT", 100),
            ("", "", "pods", "POST", 2),
        )
    )
    assert writes_of(metrics) == 5.0


def test_the_largest_session_holds_as_much_as_its_schema_allows() -> None:
    assert 131_000 < len(largest()) < 200_000


def test_the_cpu_of_an_operation_leaves_the_model_out_and_counts_new_pods_whole() -> None:
    def used(seconds: float) -> Usage:
        return Usage(cpu_seconds=seconds)

    before = {"server": used(1.0), "simulator": used(1.0)}
    after = {"server": used(1.5), "operator": used(0.5), "harness": used(2.0), "simulator": used(9.0)}
    found = {sample.case: sample.value for sample in costs("line", before, after, 10)}
    assert found == {"line: server and operator": pytest.approx(100.0), "line: all Pods": pytest.approx(300.0)}
    assert costs("line", {}, {}, 10) == []


def test_a_session_is_reconciled_once_its_status_speaks_of_its_generation() -> None:
    condition = {"type": "Ready", "status": "True", "observedGeneration": 2}
    session = {"metadata": {"generation": 2}, "spec": {"title": "after"}, "status": {"conditions": [condition]}}
    assert reconciled("after")(session)
    assert not reconciled("before")(session)
    assert not reconciled("after")({**session, "metadata": {"generation": 3}})
    assert not reconciled("after")({**session, "status": {}})


def test_the_calls_of_a_step_are_its_tools_times_its_repeats() -> None:
    assert calls_of(bash("true", repeat=7)) == 7
    assert calls_of({"tools": [{"name": "bash"}] * 10, "repeat": 3}) == 30
    assert calls_of({"text": "done"}) == 0


def test_what_descends_from_a_process_is_found_whatever_the_order(tmp_path: Path) -> None:
    for pid, parent in ((10, 1), (30, 20), (20, 10), (40, 1)):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "stat").write_text(f"{pid} (a (b) c) S {parent} 1 1")
    (tmp_path / "50").mkdir()
    assert below(10, parents(tmp_path)) == {10, 20, 30}
