"""Pages of lists that are kept in memory: newest first, with cursors that are opaque, signed and good for one list."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from managed_agents.server.services.cursors import cursor_of, place_of
from managed_agents.server.services.query import parse_number

T = TypeVar("T")

LIMIT_DEFAULT = 20
LIMIT_MAX = 100
"""API reference §3.1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Which part of a list is asked for. `after` is the key of the last item of the page before."""

    limit: int
    scope: str
    after: str | None = None


def parse_window(query: Mapping[str, str], scope: str, secret: bytes) -> Window:
    """Read `limit` and `page`. Raises: RejectedError."""
    limit = parse_number("limit", query.get("limit"), 1, LIMIT_MAX)
    cursor = query.get("page")
    after = place_of(cursor, scope, secret) if cursor else None
    return Window(limit=limit or LIMIT_DEFAULT, scope=scope, after=after)


def page_of(items: Iterable[T], key: Callable[[T], str], window: Window, secret: bytes) -> tuple[list[T], str | None]:
    """Return a page, greatest key first, and the cursor of the next one, null at the end. Keys must be distinct."""
    ordered = sorted(items, key=key, reverse=True)
    left = [item for item in ordered if window.after is None or key(item) < window.after]
    shown = left[: window.limit]
    more = len(left) > len(shown)
    return shown, cursor_of(window.scope, key(shown[-1]), secret) if more else None
