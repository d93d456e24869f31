"""Pages of a session's resources: a cursor names how many came before. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from managed_agents.server.services.cursors import cursor_at, position_of
from managed_agents.server.services.query import parse_number

LIMIT_MAX = 1000
_ORDER = "asc"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourcePage:
    """The resources of one page and the cursor of the next, null at the end."""

    entries: Sequence[Mapping[str, Any]]
    next_page: str | None


def parse_page(
    session_id: str, entries: Sequence[Mapping[str, Any]], query: Mapping[str, str], secret: bytes
) -> ResourcePage:
    """Return the page that a query asks for; all that is left without a limit. Raises: RejectedError."""
    scope = f"resources of {session_id}"
    limit, start = parse_number("limit", query.get("limit"), 1, LIMIT_MAX), 0
    if query.get("page"):
        start = position_of(query["page"], scope, _ORDER, secret)
    end = len(entries) if limit is None else start + limit
    following = cursor_at(scope, _ORDER, end, secret) if end < len(entries) else None
    return ResourcePage(entries=entries[start:end], next_page=following)
