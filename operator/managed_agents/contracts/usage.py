"""Token usage and its list price: sums over model requests, in the API's shape (API reference §4.5)."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Self

_PER_MILLION = Decimal(1_000_000)
_HOUR_SECONDS = Decimal(3600)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPrice:
    """Prices in whole currency units: a million tokens of each kind, an hour of running, a thousand web searches."""

    currency: str
    input: Decimal
    output: Decimal
    cache_read: Decimal
    cache_write_5m: Decimal
    cache_write_1h: Decimal
    running_hour: Decimal = Decimal(0)
    thousand_web_searches: Decimal = Decimal(0)

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> Self:
        """Read `{currency, per_million_tokens: {input, output, cache_read, cache_write_5m, cache_write_1h}}`.

        A missing cache price is the input price. Raises: KeyError, decimal.InvalidOperation on other shapes.
        """
        tokens = value["per_million_tokens"]
        base = Decimal(tokens["input"])
        return cls(
            currency=value.get("currency", "USD"),
            input=base,
            output=Decimal(tokens["output"]),
            cache_read=Decimal(tokens.get("cache_read", base)),
            cache_write_5m=Decimal(tokens.get("cache_write_5m", base)),
            cache_write_1h=Decimal(tokens.get("cache_write_1h", base)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageTotals:
    """Tokens, and searches, of all model requests of a session so far."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    web_search_requests: int = 0

    @property
    def tokens(self) -> int:
        """Return all tokens, of whatever kind."""
        cached = self.cache_read_input_tokens + self.cache_write_5m_tokens + self.cache_write_1h_tokens
        return self.input_tokens + self.output_tokens + cached

    def add(self, model_usage: Mapping[str, Any]) -> "UsageTotals":
        """Add the `model_usage` of one `span.model_request_end`."""
        creation = model_usage.get("cache_creation") or {}
        written = model_usage.get("cache_creation_input_tokens") or 0
        hour = creation.get("ephemeral_1h_input_tokens") or 0
        searches = (model_usage.get("server_tool_use") or {}).get("web_search_requests") or 0
        return UsageTotals(
            input_tokens=self.input_tokens + (model_usage.get("input_tokens") or 0),
            output_tokens=self.output_tokens + (model_usage.get("output_tokens") or 0),
            cache_read_input_tokens=self.cache_read_input_tokens + (model_usage.get("cache_read_input_tokens") or 0),
            cache_write_5m_tokens=self.cache_write_5m_tokens + written - hour,
            cache_write_1h_tokens=self.cache_write_1h_tokens + hour,
            web_search_requests=self.web_search_requests + searches,
        )

    def list_cost(self, price: ListPrice, *, active_seconds: float = 0.0) -> Decimal:
        """Return the list price of all this and of the time a session ran, in cents, exact (not rounded)."""
        units = (
            price.input * self.input_tokens
            + price.output * self.output_tokens
            + price.cache_read * self.cache_read_input_tokens
            + price.cache_write_5m * self.cache_write_5m_tokens
            + price.cache_write_1h * self.cache_write_1h_tokens
        )
        running = price.running_hour * Decimal(str(active_seconds)) / _HOUR_SECONDS
        searching = price.thousand_web_searches * self.web_search_requests / 1000
        return (units / _PER_MILLION + running + searching) * 100

    def snapshot(self, *, active_seconds: float, price: ListPrice | None) -> dict[str, Any]:
        """Render the `usage` object of `session.usage`; `list_cost` is null without a price, else rounded to cents."""
        cost = None
        if price is not None:
            cents = self.list_cost(price, active_seconds=active_seconds).quantize(Decimal(1), rounding=ROUND_HALF_UP)
            cost = {"amount": str(cents), "currency": price.currency}
        return {
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cache_read_input_tokens": self.cache_read_input_tokens,
            "cache_creation": {
                "ephemeral_5m_input_tokens": self.cache_write_5m_tokens,
                "ephemeral_1h_input_tokens": self.cache_write_1h_tokens,
            },
            "server_tool_use": {"web_search_requests": self.web_search_requests, "web_fetch_requests": 0},
            "list_cost": cost,
            "active_seconds": round(active_seconds, 3),
        }
