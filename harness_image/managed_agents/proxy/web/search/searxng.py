"""SearXNG, whose administrator allows the format `json` (https://docs.searxng.org/dev/search_api)."""

from collections.abc import Mapping
from typing import Any

from managed_agents.proxy.web.search.backend import Hit, Query, Request, hits_from


class SearXng:
    """A metasearch engine that somebody runs, often in the cluster."""

    def request_for(self, query: Query, key: str) -> Request:  # noqa: ARG002 - it takes none
        """Ask by GET; see `Backend`."""
        return Request(path="/search", parameters={"q": query.text_with_sites, "format": "json"})

    def hits_in(self, document: Mapping[str, Any]) -> list[Hit]:
        """Read `results`; see `Backend`."""
        return hits_from(document.get("results"), text=("content",))
