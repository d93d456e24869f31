"""Brave Search's web search (https://api-dashboard.search.brave.com/docs)."""

import html
import re
from collections.abc import Mapping
from typing import Any

from managed_agents.proxy.web.search.backend import HITS_MAX, Hit, Query, Request, hits_from

_EMPHASIS = re.compile(r"</?(?:strong|b|em|i|mark)>")
_LOCATION_HEADERS = {
    "city": "X-Loc-City",
    "region": "X-Loc-State-Name",
    "country": "X-Loc-Country",
    "timezone": "X-Loc-Timezone",
}


class Brave:
    """The commercial index of that name."""

    def request_for(self, query: Query, key: str) -> Request:
        """Ask by GET, with the key in a header; see `Backend`."""
        parameters = {"q": query.text_with_sites, "count": str(HITS_MAX), "text_decorations": "false"}
        country = query.location.get("country")
        if isinstance(country, str) and len(country) == 2 and country.isascii() and country.isalpha():
            parameters["country"] = country.upper()
        headers = {"Accept": "application/json", "X-Subscription-Token": key}
        for field, name in _LOCATION_HEADERS.items():
            value = query.location.get(field)
            if isinstance(value, str) and value.isascii() and value.isprintable():
                headers[name] = value
        return Request(path="/res/v1/web/search", parameters=parameters, headers=headers)

    def hits_in(self, document: Mapping[str, Any]) -> list[Hit]:
        """Read `web.results`; see `Backend`."""
        web = document.get("web")
        found = hits_from(web.get("results") if isinstance(web, dict) else None, text=("description",))
        return [Hit(url=hit.url, title=_plain(hit.title), text=_plain(hit.text)) for hit in found]


def _plain(text: str) -> str:
    return html.unescape(_EMPHASIS.sub("", text))
