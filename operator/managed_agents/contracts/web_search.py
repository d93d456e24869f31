"""Who answers web searches: an installation's setting, one JSON document that the operator hands to each proxy."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from managed_agents.contracts.settings_document import settings_document

ENDPOINTS: Mapping[str, str] = MappingProxyType(
    {"searxng": "", "brave": "https://api.search.brave.com", "tavily": "https://api.tavily.com"}
)
"""The back ends, each with its own address; a SearXNG is wherever somebody runs one."""

KEYLESS = frozenset({"searxng"})
"""Back ends that take no key."""

_KEYS = ("backend", "endpoint", "thousand_price")


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSearchSettings:
    """A back end and where it is. `thousand_price` is what budgets count for a thousand searches, in the currency of
    the models' list prices.
    """

    backend: str
    endpoint: str
    thousand_price: Decimal = Decimal(0)

    @property
    def needs_key(self) -> bool:
        """Tell whether the proxy must mount a key."""
        return self.backend not in KEYLESS


def parse_web_search(text: str) -> WebSearchSettings | None:
    """Parse the JSON document; empty text is no search. Raises: ValueError, naming the key and what is allowed."""
    document = settings_document(text, _KEYS)
    if document is None:
        return None
    backend = str(document.get("backend"))
    if backend not in ENDPOINTS:
        raise ValueError(f"backend: {backend!r} is not one of {', '.join(ENDPOINTS)}")
    return WebSearchSettings(
        backend=backend,
        endpoint=_endpoint(document.get("endpoint") or ENDPOINTS[backend]),
        thousand_price=_price(document.get("thousand_price", 0)),
    )


def _endpoint(value: Any) -> str:
    try:
        parts = urlsplit(value) if isinstance(value, str) else urlsplit("")
        complete = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        complete = False
    if not complete or "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("endpoint: an http or https URL without user, query and fragment is required")
    return str(value).rstrip("/")


def _price(value: Any) -> Decimal:
    try:
        price = Decimal(str(value))
    except InvalidOperation:
        price = Decimal(-1)
    if isinstance(value, bool) or not price.is_finite() or price < 0:
        raise ValueError(f"thousand_price: {value!r} is not a number of at least 0")
    return price
