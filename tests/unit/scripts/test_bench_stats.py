import random
from math import isnan

import pytest

from bench.stats import Row, interval, knee_of, quantile, quantile_of, ratio_of, slope_of, table


def test_quantiles_are_samples_and_the_interval_holds_the_quantile() -> None:
    samples = [float(value) for value in range(1, 101)]
    assert quantile(samples, 0.5) == 51
    assert quantile(samples, 0.99) == 100
    low, high = interval(samples, 0.5)
    assert low <= 51 <= high
    assert interval(samples, 0.5) == (low, high)


def test_the_interval_is_that_of_resamples_that_were_really_drawn() -> None:
    draw = random.Random(1)  # noqa: S311 - statistics, not secrets
    samples = [draw.expovariate(1.0) for _ in range(200)]
    drawn = sorted(quantile(draw.choices(samples, k=200), 0.5) for _ in range(2000))
    low, high = interval(samples, 0.5)
    assert low == pytest.approx(drawn[50], abs=0.05)
    assert high == pytest.approx(drawn[1950], abs=0.05)


def test_the_interval_of_one_sample_is_that_sample() -> None:
    found = quantile_of([3.0], 0.99)
    assert (found.value, found.low, found.high) == (3.0, 3.0, 3.0)


def test_a_ratio_is_of_the_quantiles_and_its_interval_knows_both_sides() -> None:
    draw = random.Random(2)  # noqa: S311 - statistics, not secrets
    floor = [draw.gauss(10.0, 1.0) for _ in range(300)]
    path = [draw.gauss(20.0, 2.0) for _ in range(300)]
    found = ratio_of(path, floor, 0.5)
    assert found.value == pytest.approx(2.0, abs=0.1)
    assert found.low < 2.0 < found.high
    assert found.high - found.low < 0.2


def test_a_floor_of_zero_has_no_ratio() -> None:
    assert isnan(ratio_of([1.0], [0.0], 0.5).value)


def test_the_slope_is_that_of_the_line_through_the_points() -> None:
    assert slope_of([(float(x), 2.0 * x + 5.0) for x in range(10)]) == pytest.approx(2.0)
    assert slope_of([(1.0, 3.0), (1.0, 4.0)]) == 0.0
    assert slope_of([]) == 0.0


def test_the_knee_is_the_first_place_beyond_so_many_times_the_first_value() -> None:
    points = [(1.0, 10.0), (8.0, 30.0), (2.0, 19.0), (4.0, 21.0)]
    assert knee_of(points, times=2.0) == 4.0
    assert knee_of(points, times=5.0) is None


def test_table_shows_the_ratio_of_the_medians() -> None:
    row = Row(name="path", samples=[4.0, 4.0, 4.0], floor_name="floor of it", floor=[2.0, 2.0, 2.0])
    text = table([row])
    assert "2.0x" in text
    assert "floor of it" in text
