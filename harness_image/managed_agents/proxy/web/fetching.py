"""web_fetch: one page, by redirects of which each is judged anew (A18), as text with its title and address."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import structlog
from aiohttp import (
    ClientConnectorDNSError,
    ClientError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
)
from yarl import URL

from managed_agents.contracts.egress import EgressRules
from managed_agents.proxy.forward import reason_of
from managed_agents.proxy.judging_resolver import Resolve
from managed_agents.proxy.web.addresses import (
    ClosedAddressError,
    guarded_connector,
    refused,
    require_open,
    url_from,
)
from managed_agents.proxy.web.bodies import ACCEPTED_ENCODINGS, read_body
from managed_agents.proxy.web.domains import DomainRules
from managed_agents.proxy.web.media import Media, kind_of, media_from
from managed_agents.proxy.web.problems import WebProblemError
from managed_agents.proxy.web.reading import Reader

REDIRECTS_MAX = 5
FETCH_SECONDS = 30.0
"""All requests of one call together, without the reading of the page."""

CHARACTERS_MAX = 100_000
"""Of one result, as much as of any built-in tool (API reference §8)."""

CHARACTERS_PER_TOKEN = 4
"""What `max_content_tokens` is counted by: an estimate, like the hosted tool's limit."""

_HEADERS = {
    "User-Agent": "managed-agents-web-fetch/1 (+https://managedagents.dev)",
    "Accept": "text/html, application/xhtml+xml, application/pdf, text/*;q=0.9, application/json;q=0.9, */*;q=0.1",
    "Accept-Encoding": ACCEPTED_ENCODINGS,
    "Accept-Language": "en, *;q=0.5",
}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """An answer that arrived whole."""

    url: URL
    media: Media
    body: bytes


class WebFetch:
    """Fetches pages under the administrator's rules and the tool's own lists. Sends no cookie and no credential."""

    def __init__(self, rules: EgressRules, resolve: Resolve, reader: Reader) -> None:
        self._rules = rules
        self._reader = reader
        self._log = structlog.get_logger(listener="web")
        self._client = ClientSession(
            connector=guarded_connector(rules, resolve),
            cookie_jar=DummyCookieJar(),
            auto_decompress=False,
            headers=_HEADERS,
            timeout=ClientTimeout(total=None, sock_connect=10.0, sock_read=15.0),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    async def run(self, given: Mapping[str, Any], config: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the content of a call's result: a document. Raises: WebProblemError."""
        url = given.get("url")
        if not isinstance(url, str) or not url.strip():
            raise WebProblemError("invalid_tool_input", "url: a full http:// or https:// URL is required")
        page = await self._audited(url_from(url), DomainRules.parse(config))
        kind = page.media.kind or kind_of(page.body)
        characters_max = _characters_max(config)
        reading = await self._reader.read(
            kind, page.body, charset=page.media.charset, url=str(page.url), characters_max=characters_max
        )
        text = reading.text
        if reading.is_cut:
            text += f"\n\n[Cut here: the page goes on after these {len(text)} characters.]"
        return [
            {
                "type": "document",
                "source": {"type": "text", "media_type": "text/plain", "data": text},
                "title": reading.title or str(page.url),
                "context": f"Fetched from {page.url}",
            }
        ]

    async def _audited(self, url: URL, domains: DomainRules) -> Page:
        """Fetch a page and leave one line: hosts and sizes, never a path, a query or a header."""
        started = time.perf_counter()
        seen: dict[str, object] = {"host": url.host, "port": url.port}
        try:
            page = await self._page(url, domains)
            seen |= {"bytes_in": len(page.body), "final_host": page.url.host}
            return page
        except WebProblemError as problem:
            seen["problem"] = problem.code
            raise
        finally:
            self._log.info("fetch", ms=round((time.perf_counter() - started) * 1000, 2), **seen)

    async def _page(self, url: URL, domains: DomainRules) -> Page:
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                for _ in range(REDIRECTS_MAX + 1):
                    require_open(url, domains, self._rules)
                    found = await self._hop(url)
                    if isinstance(found, Page):
                        return found
                    url = found
        except ClientConnectorDNSError as problem:
            host = url.host or ""
            if isinstance(problem.os_error, ClosedAddressError):
                raise refused(host, "internal_address") from None
            raise WebProblemError("url_not_accessible", f"{host} is not known to the DNS, or it is silent") from None
        except (ClientError, TimeoutError, OSError, ValueError) as problem:
            raise WebProblemError("url_not_accessible", f"{url.host}: {reason_of(problem)}") from None
        raise WebProblemError("url_not_accessible", f"more than {REDIRECTS_MAX} redirects")

    async def _hop(self, url: URL) -> Page | URL:
        """Make one request: return its page, or where it leads to."""
        async with self._client.get(url, allow_redirects=False) as answer:
            if answer.status in _REDIRECTS:
                return _next_url(answer)
            if answer.status != 200:
                raise WebProblemError("url_not_accessible", f"{url.host} answered with status {answer.status}")
            media = media_from(answer.headers.get("Content-Type", ""))
            body = await read_body(_parts(answer), answer.headers.get("Content-Encoding", ""))
            return Page(url=url, media=media, body=body)


async def _parts(answer: ClientResponse) -> AsyncIterator[bytes]:
    while part := await answer.content.readany():
        yield part


def _next_url(answer: ClientResponse) -> URL:
    location = answer.headers.get("Location", "")
    try:
        target = str(answer.url.join(URL(location)))
    except ValueError:
        target = ""
    if not location or not target:
        raise WebProblemError("url_not_accessible", f"{answer.url.host} redirects to nowhere")
    return url_from(target)


def _characters_max(config: Mapping[str, Any]) -> int:
    tokens = config.get("max_content_tokens")
    if not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 1:
        return CHARACTERS_MAX
    return min(tokens * CHARACTERS_PER_TOKEN, CHARACTERS_MAX)
