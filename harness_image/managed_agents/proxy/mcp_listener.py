"""MCP servers for the harness (port 7304): it names a server of its session, and never a URL, an address or a token."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientResponse, ClientSession, ClientTimeout, web
from yarl import URL

from managed_agents.contracts.egress import EgressRules
from managed_agents.proxy.egress_rules import Networking, networking_from
from managed_agents.proxy.errors import RefusedError
from managed_agents.proxy.forward import NotConnectedError, Rewrite, UnreachableError, Upstream, forward
from managed_agents.proxy.headers import mcp_request_headers
from managed_agents.proxy.mcp_bearers import BearerSource
from managed_agents.proxy.mcp_dialling import judged
from managed_agents.proxy.mcp_endpoints import MCP_PATH, EndpointRewriter, Endpoints
from managed_agents.proxy.note import NOTE
from managed_agents.proxy.oauth.renewals import RenewalError
from managed_agents.proxy.settings import CONNECT_SECONDS

_TIMEOUT = ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
"""A stream may be silent for as long as the harness waits; a server that vanished is noticed by keep-alive."""

_SCOPE = re.compile(r"error\s*=\s*\"?insufficient_scope\b")
"""RFC 6750 §3.1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Servers:
    """What a session's config says: each server's URL by its name, and what its Environment lets it reach."""

    urls: Mapping[str, str]
    networking: Networking


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """Where a request goes: the server as its session names it, its URL, and the URL that was judged."""

    name: str
    server_url: str
    url: URL


@dataclass(slots=True)
class _UnauthenticatedError(Exception):
    """The server refused the request at its head, so nothing of it was done."""

    status: int
    is_scope: bool


class McpListener:
    """Handlers of the methods that MCP uses. The servers are those of the last config that came from the server."""

    def __init__(self, client: ClientSession, rules: EgressRules, credentials: BearerSource) -> None:
        self._client = client
        self._rules = rules
        self._credentials = credentials
        self._servers = _Servers(urls={}, networking=Networking(is_limited=True))
        self._endpoints = Endpoints()

    def configure(self, config: Mapping[str, Any]) -> None:
        """Take in a session config; from now on its servers are the ones."""
        agent = config.get("agent") or {}
        environment = (config.get("environment") or {}).get("config") or {}
        listed = agent.get("mcp_servers") or ()
        self._servers = _Servers(
            urls={str(server["name"]): str(server["url"]) for server in listed},
            networking=networking_from(environment),
        )
        self._credentials.configure(config, self._servers.networking)

    def routes(self) -> list[web.RouteDef]:
        """Return what this listener serves."""
        return [
            web.post(MCP_PATH, self._relay),
            web.get(MCP_PATH, self._relay, allow_head=False),
            web.delete(MCP_PATH, self._relay),
        ]

    async def _relay(self, request: web.Request) -> web.StreamResponse:
        name = request.query.get("server", "")
        url = self._url_of(name)
        request[NOTE].mcp_server = name
        endpoint = request.query.get("endpoint")
        wanted = url if endpoint is None else self._endpoints.url_of(endpoint, name)
        target = _Target(name=name, server_url=url, url=judged(wanted, self._servers.networking, self._rules))
        bearer = await self._credentials.bearer_for(url)
        try:
            return await self._send(request, target, bearer)
        except _UnauthenticatedError as refusal:
            said = f"{target.url.host} answered with status {refusal.status}"
            if refusal.status == 403 and not refusal.is_scope:
                raise RefusedError(401, "mcp_authentication", f"{said}: it lets the session do nothing") from None
            try:
                bearer = await self._credentials.after_refusal(url, bearer, is_scope=refusal.is_scope)
            except RenewalError as problem:
                raise RefusedError(401, "mcp_authentication", f"{said}: {problem}") from None
        try:
            return await self._send(request, target, bearer)
        except _UnauthenticatedError as refusal:
            said = f"{target.url.host} answered with status {refusal.status}"
            text = f"{said}: it does not accept the renewed credential either"
            raise RefusedError(401, "mcp_authentication", text) from None

    async def _send(self, request: web.Request, target: _Target, bearer: str | None) -> web.StreamResponse:
        """Send the request once. Raises: _UnauthenticatedError before anything was answered; RefusedError."""
        upstream = Upstream(
            method=request.method,
            url=target.url,
            headers=mcp_request_headers(request.headers, bearer=bearer),
            body=await request.read(),
            timeout=_TIMEOUT,
        )
        opened: list[str] = []

        def judge(answer: ClientResponse) -> Rewrite | None:
            _refuse_unauthenticated(answer)  # before anything passes
            if request.method != "GET" or answer.status != 200 or answer.content_type != "text/event-stream":
                return None
            return EndpointRewriter(lambda uri: self._endpoints.open(target.name, target.server_url, uri, opened))

        try:
            return await forward(request, self._client, upstream, judge)
        except NotConnectedError as problem:
            raise _failed(503, "mcp_not_connected", upstream.url, problem) from None
        except UnreachableError as problem:
            raise _failed(502, "mcp_unreachable", upstream.url, problem) from None
        finally:
            self._endpoints.close(opened)

    def _url_of(self, name: str) -> str:
        url = self._servers.urls.get(name)
        if url is None:
            raise RefusedError(403, "mcp_unknown_server", f"the session has no MCP server named {name!r}")
        return url


def _refuse_unauthenticated(answer: ClientResponse) -> None:
    """Keep it from the harness: nobody follows a server's word on where to get a token, or with what scope (A24)."""
    if answer.status in (401, 403):
        challenge = answer.headers.get("WWW-Authenticate", "")
        raise _UnauthenticatedError(answer.status, bool(_SCOPE.search(challenge)))


def _failed(status: int, kind: str, url: URL, problem: UnreachableError) -> RefusedError:
    return RefusedError(status, kind, f"{url.host} does not answer: {problem}")
