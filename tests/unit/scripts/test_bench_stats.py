from bench.stats import Row, interval, quantile, table


def test_quantiles_are_samples_and_the_interval_holds_the_quantile() -> None:
    samples = [float(value) for value in range(1, 101)]
    assert quantile(samples, 0.5) == 51
    assert quantile(samples, 0.99) == 100
    low, high = interval(samples, 0.5)
    assert low <= 51 <= high
    assert interval(samples, 0.5) == (low, high)


def test_table_shows_the_ratio_of_the_medians() -> None:
    row = Row(name="path", samples=[4.0, 4.0, 4.0], floor_name="floor of it", floor=[2.0, 2.0, 2.0])
    text = table([row])
    assert "2.0x" in text
    assert "floor of it" in text
