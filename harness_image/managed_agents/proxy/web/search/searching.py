"""The tool: asks the back end, leaves out what the tool's lists block, and makes blocks that can be cited."""

import time
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import orjson
import structlog
from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout
from yarl import URL

from managed_agents.contracts.web_search import WebSearchSettings
from managed_agents.proxy.egress_hosts import MalformedHostError, target_from
from managed_agents.proxy.forward import reason_of
from managed_agents.proxy.watched_file import WatchedFile
from managed_agents.proxy.web.bodies import read_body
from managed_agents.proxy.web.calls import WebResult
from managed_agents.proxy.web.domains import DomainRules
from managed_agents.proxy.web.problems import WebProblemError
from managed_agents.proxy.web.reader.texts import clean
from managed_agents.proxy.web.search.backend import HITS_MAX, QUERY_CHARACTERS_MAX, Backend, Hit, Query, Request
from managed_agents.proxy.web.search.brave import Brave
from managed_agents.proxy.web.search.searxng import SearXng
from managed_agents.proxy.web.search.tavily import Tavily

EXCERPT_CHARACTERS_MAX = 2_000
"""Of one hit; a page is read in full by web_fetch."""

BACKENDS: Mapping[str, Backend] = {"searxng": SearXng(), "brave": Brave(), "tavily": Tavily()}

_TIMEOUT = ClientTimeout(total=20.0, sock_connect=5.0)
_NOT_SET_UP = (
    "web search is not set up in this installation: an administrator chooses a back end with --web-search "
    "of the operator (docs/web-tools.md)"
)
_NO_KEY = (
    'web search has no key: an administrator puts one under the key "api-key" of the Secret "web-search" '
    "in this namespace (docs/web-tools.md)"
)


def parse_key(content: bytes) -> str:
    """Parse the mounted key, without the line end that files have. Raises: ValueError when a header cannot hold it."""
    key = content.decode("ascii", "replace").strip()
    if not key or not key.isascii() or not key.isprintable():
        raise ValueError("no usable key")
    return key


class WebSearch:
    """Searches by the installation's back end. `client` reaches wherever the administrator put it."""

    def __init__(self, client: ClientSession, settings: WebSearchSettings | None, key: WatchedFile[str]) -> None:
        self._client = client
        self._settings = settings
        self._key = key
        self._log = structlog.get_logger(listener="web")

    async def run(self, given: Mapping[str, Any], config: Mapping[str, Any]) -> WebResult:
        """Return a call's result: search results. Raises: WebProblemError."""
        text = given.get("query")
        if not isinstance(text, str) or not text.strip():
            raise WebProblemError("invalid_tool_input", "query: a text is required")
        if len(text) > QUERY_CHARACTERS_MAX:
            raise WebProblemError("query_too_long", f"a query may have at most {QUERY_CHARACTERS_MAX} characters")
        settings = self._settings
        if settings is None:
            raise WebProblemError("unavailable", _NOT_SET_UP)
        domains = DomainRules.parse(config)
        query = Query(text=clean(text).strip(), domains=domains, location=config.get("user_location") or {})
        hits = await self._audited(settings, query)
        return WebResult(content=_blocks(hits, domains), searches=1)

    async def _audited(self, settings: WebSearchSettings, query: Query) -> list[Hit]:
        """Ask and leave one line: the back end, the number of hits, never the question or the key."""
        started = time.perf_counter()
        seen: dict[str, object] = {"backend": settings.backend}
        try:
            backend = BACKENDS[settings.backend]
            document = await self._asked(settings, backend.request_for(query, self._key_for(settings)))
            hits = backend.hits_in(document)
            seen["hits"] = len(hits)
            return hits
        except WebProblemError as problem:
            seen["problem"] = problem.code
            raise
        finally:
            self._log.info("search", ms=round((time.perf_counter() - started) * 1000, 2), **seen)

    def _key_for(self, settings: WebSearchSettings) -> str:
        if not settings.needs_key:
            return ""
        try:
            return self._key.read()
        except (OSError, ValueError):
            raise WebProblemError("unavailable", _NO_KEY) from None

    async def _asked(self, settings: WebSearchSettings, request: Request) -> Mapping[str, Any]:
        """Make the request. A redirect is not followed: it would carry the key to another host (A18)."""
        url = URL(settings.endpoint + request.path, encoded=True).with_query(dict(request.parameters))
        body = None if request.body is None else orjson.dumps(request.body)
        headers = {**request.headers, **({"Content-Type": "application/json"} if body else {})}
        try:
            async with self._client.request(
                "GET" if body is None else "POST",
                url,
                headers=headers,
                data=body,
                timeout=_TIMEOUT,
                allow_redirects=False,
            ) as answer:
                raw = await read_body(_parts(answer), answer.headers.get("Content-Encoding", ""))
                status = answer.status
        except (ClientError, TimeoutError, OSError) as problem:
            raise WebProblemError("unavailable", f"the search provider is unreachable: {reason_of(problem)}") from None
        return _document(settings.backend, status, raw)


def _document(backend: str, status: int, raw: bytes) -> Mapping[str, Any]:
    """Judge an answer; nothing of a refusal is quoted, for it may repeat the key or the question."""
    if status == 429:
        raise WebProblemError("too_many_requests", "the search provider's limit is reached; try again later")
    if status in (401, 403):
        what = "does not allow the format json" if backend == "searxng" else "refuses the installation's key"
        raise WebProblemError("unavailable", f"the search provider {what}; an administrator must see to it")
    if status != 200:
        raise WebProblemError("unavailable", f"the search provider answered with status {status}")
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        raise WebProblemError("unavailable", "the search provider's answer is no JSON object")
    return document


def _blocks(hits: Iterable[Hit], domains: DomainRules) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    for hit in hits:
        title, text = clean(hit.title).strip()[:500], clean(hit.text).strip()[:EXCERPT_CHARACTERS_MAX]
        if not (title or text) or not _is_admitted(hit.url, domains):
            continue
        blocks.append(
            {
                "type": "search_result",
                "source": hit.url,
                "title": title or hit.url,
                "content": [{"type": "text", "text": text or title}],
                "citations": {"enabled": True},
            }
        )
    return blocks[:HITS_MAX] or [{"type": "text", "text": "No results."}]


def _is_admitted(address: str, domains: DomainRules) -> bool:
    """Tell whether a hit is a page of the web that the tool's lists admit."""
    try:
        url = URL(address)
        if url.scheme not in ("http", "https") or not url.host or len(address) > 2048:
            return False
        return domains.permit(target_from(url.host, 443).host, url.path)
    except (MalformedHostError, ValueError):
        return False


async def _parts(answer: ClientResponse) -> AsyncIterator[bytes]:
    while part := await answer.content.readany():
        yield part
