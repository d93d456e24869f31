"""Tavily's search (https://docs.tavily.com)."""

from collections.abc import Mapping, Sequence
from typing import Any

from managed_agents.proxy.web.search.backend import HITS_MAX, Hit, Query, Request, hits_from


class Tavily:
    """The commercial search of that name; its excerpts are made for models."""

    def request_for(self, query: Query, key: str) -> Request:
        """Ask by POST, with the key in a header; see `Backend`."""
        body = {
            "query": query.text,
            "max_results": HITS_MAX,
            "search_depth": "basic",
            "include_domains": _hosts(query.domains.allowed or ()),
            "exclude_domains": [entry for entry in query.domains.blocked if "/" not in entry],
        }
        return Request(path="/search", headers={"Authorization": f"Bearer {key}"}, body=body)

    def hits_in(self, document: Mapping[str, Any]) -> list[Hit]:
        """Read `results`; see `Backend`."""
        return hits_from(document.get("results"), text=("content",))


def _hosts(entries: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(entry.partition("/")[0] for entry in entries))
