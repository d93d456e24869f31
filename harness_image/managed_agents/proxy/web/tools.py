"""Wires the web tools: what the hand listener serves of them, and whose sockets end with the process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import ClientSession, web

from managed_agents.proxy.egress_dns import Resolver
from managed_agents.proxy.settings import Settings
from managed_agents.proxy.watched_file import WatchedFile
from managed_agents.proxy.web.calls import WebCalls
from managed_agents.proxy.web.fetching import WebFetch
from managed_agents.proxy.web.listener import WebListener
from managed_agents.proxy.web.reading import Reader
from managed_agents.proxy.web.search.searching import WebSearch, parse_key


@asynccontextmanager
async def web_tools(settings: Settings, client: ClientSession) -> AsyncIterator[list[web.RouteDef]]:
    """Yield the routes of the web tools; afterwards end the calls that still run. `client` asks the search provider."""
    calls = WebCalls()
    search = WebSearch(client, settings.web_search, WatchedFile(settings.web_search_key_file, parse_key))
    async with WebFetch(settings.egress, Resolver().resolve, Reader()) as fetch:
        try:
            yield WebListener(calls, fetch, search).routes()
        finally:
            await calls.close()
