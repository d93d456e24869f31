"""MCP servers for the harness (port 7304): it names a server of its session, and never a URL, an address or a token."""

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
from managed_agents.proxy.mcp_credentials import CredentialSource
from managed_agents.proxy.mcp_dialling import judged
from managed_agents.proxy.mcp_endpoints import MCP_PATH, EndpointRewriter, Endpoints
from managed_agents.proxy.note import NOTE
from managed_agents.proxy.settings import CONNECT_SECONDS

_TIMEOUT = ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
"""A stream may be silent for as long as the harness waits; a server that vanished is noticed by keep-alive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Servers:
    """What a session's config says: each server's URL by its name, and what its Environment lets it reach."""

    urls: Mapping[str, str]
    networking: Networking


class McpListener:
    """Handlers of the methods that MCP uses. The servers are those of the last config that came from the server."""

    def __init__(self, client: ClientSession, rules: EgressRules, credentials: CredentialSource) -> None:
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
        target = url if endpoint is None else self._endpoints.url_of(endpoint, name)
        upstream = Upstream(
            method=request.method,
            url=judged(target, self._servers.networking, self._rules),
            headers=mcp_request_headers(request.headers, bearer=self._credentials.bearer_for(url)),
            body=await request.read(),
            timeout=_TIMEOUT,
        )
        opened: list[str] = []

        def judge(answer: ClientResponse) -> Rewrite | None:
            _refuse_unauthenticated(answer)
            if request.method != "GET" or answer.status != 200 or answer.content_type != "text/event-stream":
                return None
            return EndpointRewriter(lambda uri: self._endpoints.open(name, url, uri, opened))

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
    """Say it in our words: what the server says of its OAuth is not for the harness (A24)."""
    if answer.status in (401, 403):
        host = answer.url.host
        text = f"{host} answered with status {answer.status}: the session has no credential that it accepts"
        raise RefusedError(401, "mcp_authentication", text)


def _failed(status: int, kind: str, url: URL, problem: UnreachableError) -> RefusedError:
    return RefusedError(status, kind, f"{url.host} does not answer: {problem}")
