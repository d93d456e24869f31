from typing import Any

import pytest

from managed_agents.contracts.usage import ListPrice, UsageTotals

PRICE = {
    "currency": "USD",
    "per_million_tokens": {
        "input": "5", "output": "25", "cache_read": "0.5", "cache_write_5m": "6.25", "cache_write_1h": "10",
    },
}  # fmt: skip


def test_cost_is_the_sum_over_kinds_of_tokens_rounded_to_cents_once() -> None:
    totals = UsageTotals()
    for _ in range(1000):
        totals = totals.add(
            {
                "input_tokens": 1,
                "output_tokens": 2,
                "cache_read_input_tokens": 100,
                "cache_creation_input_tokens": 30,
                "cache_creation": {"ephemeral_1h_input_tokens": 10},
            }
        )
    snapshot = totals.snapshot(active_seconds=1.23456, price=ListPrice.parse(PRICE))
    cents = (1000 * 5 + 2000 * 25 + 100_000 * 0.5 + 20_000 * 6.25 + 10_000 * 10) / 1_000_000 * 100
    assert snapshot["list_cost"] == {"amount": str(round(cents)), "currency": "USD"}
    assert snapshot["cache_creation"] == {"ephemeral_5m_input_tokens": 20_000, "ephemeral_1h_input_tokens": 10_000}
    assert snapshot["active_seconds"] == 1.235


def test_without_a_price_the_cost_is_null() -> None:
    assert UsageTotals().snapshot(active_seconds=0, price=None)["list_cost"] is None


@pytest.mark.parametrize("value", [{}, {"per_million_tokens": {"input": "5"}}])
def test_a_price_without_its_parts_is_an_error(value: dict[str, Any]) -> None:
    with pytest.raises(KeyError):
        ListPrice.parse(value)
