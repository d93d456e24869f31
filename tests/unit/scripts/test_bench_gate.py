import random
from pathlib import Path

from bench.figures import P99_SAMPLES_MIN, Figure, figures_of
from bench.gate import judged, record, recorded_at, verdicts
from bench.stage import Sample, Side
from support.requirements import requirement

NAME = "B9 line [ms]"


def figures(path: float, *, count: int = 200, floor: float | None = 10.0, unit: str = "ms") -> list[Figure]:
    draw = random.Random(3)  # noqa: S311 - statistics, not secrets
    sides = [(Side.PATH, path)] + ([(Side.FLOOR, floor)] if floor is not None else [])
    samples = [
        Sample(case="line", value=draw.gauss(middle, middle / 20), side=side, unit=unit)
        for side, middle in sides
        for _ in range(count)
    ]
    return figures_of({"B9": samples})


def worse(path: Path, found: list[Figure]) -> list[bool]:
    return [verdict.is_worse for verdict in verdicts(found, recorded_at(path))]


def test_the_same_ratio_on_a_slower_machine_holds(tmp_path: Path) -> None:
    record(tmp_path / "recorded.json", figures(20.0), {"cores": 2})
    assert worse(tmp_path / "recorded.json", figures(60.0, floor=30.0)) == [False]


@requirement("bench-gate")
def test_a_ratio_a_fifth_worse_fails(tmp_path: Path) -> None:
    record(tmp_path / "recorded.json", figures(20.0), {})
    assert worse(tmp_path / "recorded.json", figures(24.0)) == [True]


def test_a_ratio_a_twentieth_worse_holds(tmp_path: Path) -> None:
    record(tmp_path / "recorded.json", figures(20.0), {})
    assert worse(tmp_path / "recorded.json", figures(21.0)) == [False]


@requirement("bench-gate")
def test_a_worse_ratio_within_the_interval_holds(tmp_path: Path) -> None:
    record(tmp_path / "recorded.json", figures(20.0, count=4), {})
    few = figures(23.0, count=4)
    (verdict,) = verdicts(few, recorded_at(tmp_path / "recorded.json"))
    assert verdict.recorded is not None
    assert verdict.is_worse == (verdict.found.low > verdict.recorded.high)


def test_a_better_ratio_holds(tmp_path: Path) -> None:
    record(tmp_path / "recorded.json", figures(20.0), {})
    assert worse(tmp_path / "recorded.json", figures(10.0)) == [False]


def test_a_line_that_nobody_recorded_is_new_and_fails_nothing(tmp_path: Path) -> None:
    (verdict,) = verdicts(figures(20.0), recorded_at(tmp_path / "none.json"))
    assert verdict.recorded is None
    assert not verdict.is_worse
    assert verdict.line().startswith("new")


def test_a_time_without_a_floor_is_not_judged_but_a_count_is() -> None:
    assert judged(figures(20.0, floor=None)) == {}
    assert list(judged(figures(16.0, floor=None, unit="writes"))) == ["B9 line [writes]"]


def test_the_p99_is_judged_from_a_thousand_samples_on() -> None:
    assert list(judged(figures(20.0))[NAME]) == ["p50"]
    assert list(judged(figures(20.0, count=P99_SAMPLES_MIN))[NAME]) == ["p50", "p99"]


def test_recording_keeps_the_lines_that_were_not_run(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "recorded.json"
    record(path, figures(20.0), {"cores": 2})
    record(path, figures_of({"B1": [Sample(case="other", value=1.0, unit="writes")]}), {"cores": 4})
    assert set(recorded_at(path)) == {NAME, "B1 other [writes]"}
