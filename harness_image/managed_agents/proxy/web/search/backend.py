"""What a back end of the web search is: two pure functions around one HTTP request."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from managed_agents.proxy.web.domains import DomainRules

HITS_MAX = 10
"""Results of one search."""

SITES_MAX = 5
"""Allowed domains that are put into the question where a back end has no field for them; all hits are judged anyway."""

QUERY_CHARACTERS_MAX = 400
"""Of a question, as the narrowest back end takes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A question. `location` is the agent's `user_location`, or empty."""

    text: str
    domains: DomainRules = field(default_factory=DomainRules)
    location: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text_with_sites(self) -> str:
        """Return the question with its few allowed domains as `site:` operators, if there is room for them."""
        hosts = [entry.partition("/")[0] for entry in self.domains.allowed or ()]
        sites = " OR ".join(f"site:{host}" for host in hosts)
        if not hosts or len(hosts) > SITES_MAX or len(self.text) + len(sites) + 3 > QUERY_CHARACTERS_MAX:
            return self.text
        return f"{self.text} ({sites})" if len(hosts) > 1 else f"{self.text} {sites}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request below the endpoint. `body` is JSON."""

    path: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One result as its back end has it; nothing in it is believed yet."""

    url: str
    title: str
    text: str


class Backend(Protocol):
    """A search service."""

    def request_for(self, query: Query, key: str) -> Request:
        """Return the request that asks. `key` is empty where the back end takes none."""
        ...

    def hits_in(self, document: Mapping[str, Any]) -> list[Hit]:
        """Return the results of an answer, best first; what is malformed is left out."""
        ...


def hits_from(items: object, *, text: Sequence[str]) -> list[Hit]:
    """Read a list of results that have `url`, `title`, and their excerpt in the first of these fields that is there."""
    hits = []
    for item in items if isinstance(items, list) else ():
        if not isinstance(item, dict) or not isinstance(item.get("url"), str):
            continue
        excerpts = [item[name] for name in text if isinstance(item.get(name), str) and item[name].strip()]
        title = item.get("title")
        hits.append(Hit(url=item["url"], title=title if isinstance(title, str) else "", text=(excerpts or [""])[0]))
    return hits
