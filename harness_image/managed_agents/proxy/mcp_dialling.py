"""May an MCP server be reached, and at which address: decided before anything is sent to it (A23)."""

import socket
from dataclasses import replace
from ipaddress import ip_address

from aiohttp import AddrInfoType, ClientSession, DummyCookieJar, TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from managed_agents.contracts.egress import EgressRules
from managed_agents.proxy.egress import Resolve
from managed_agents.proxy.egress_hosts import MalformedHostError, shown, target_from
from managed_agents.proxy.egress_rules import Decision, Networking, address_is_open, decide
from managed_agents.proxy.errors import RefusedError

KEEPALIVE_SECONDS = 30.0
"""How long an unused connection is kept; a call often follows another within seconds."""

_DEAD_PEER = ((socket.TCP_KEEPIDLE, 20), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3))
"""A server that vanished without a packet is noticed in half a minute, also while a tool runs in silence."""


def judged(url: str, networking: Networking, rules: EgressRules) -> URL:
    """Return the URL of a permitted server, its host in one spelling. Raises: RefusedError, 403."""
    try:
        wanted = URL(url)
        target = target_from(wanted.host or "", wanted.port or 0)
    except (ValueError, MalformedHostError) as problem:
        raise RefusedError(403, "mcp_not_allowed", f"the server's url can not be dialled: {problem}") from None
    opened = replace(networking, is_limited=networking.is_limited and not networking.allows_mcp_servers)
    decision = decide(target, opened, rules)
    if not decision.is_allowed:
        raise _refused(target.host, decision)
    return wanted.with_host(target.host)


def client_for(rules: EgressRules, resolve: Resolve) -> ClientSession:
    """Return a pool of connections, each to an address that was judged. It keeps no cookies and uses no proxy."""
    connector = TCPConnector(
        limit=0,
        keepalive_timeout=KEEPALIVE_SECONDS,
        use_dns_cache=False,
        resolver=_JudgingResolver(rules, resolve),
        socket_factory=_socket_that_notices,
    )
    return ClientSession(
        connector=connector,
        cookie_jar=DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
    )


class _JudgingResolver(AbstractResolver):
    """Answers with the open addresses of a name only. Addresses in URLs never come here: `judged` has seen them."""

    def __init__(self, rules: EgressRules, resolve: Resolve) -> None:
        self._rules = rules
        self._resolve = resolve

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_INET,  # noqa: ARG002 - any will do
    ) -> list[ResolveResult]:
        """Return where to connect. Raises: OSError on an unknown name; RefusedError, 403, where all is closed."""
        try:
            texts = await self._resolve(host, port)
        except UnicodeError as problem:
            raise OSError(str(problem)) from None
        found = [ip_address(text) for text in texts]
        opened = [address for address in found if address_is_open(address, host, self._rules)]
        if not opened:
            raise _refused(host, Decision(is_allowed=False, reason="internal_address"))
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=socket.AF_INET if address.version == 4 else socket.AF_INET6,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in opened
        ]

    async def close(self) -> None:
        """Hold nothing."""


_WORDS = {
    "internal_address": "has no public address; an administrator can allow it (docs/egress.md)",
    "internal_name": "is a name inside the cluster or its network; an administrator can allow it (docs/egress.md)",
    "ip_address": "is an IP address, which this environment does not allow; set networking.allow_mcp_servers",
    "not_allowed": "is not allowed by this environment; set networking.allow_mcp_servers, or add it to "
    "networking.allowed_hosts",
}


def _refused(host: str, decision: Decision) -> RefusedError:
    said = _WORDS.get(decision.reason)
    text = f"{shown(host)} {said}" if said else decision.message
    return RefusedError(403, "mcp_not_allowed", text, detail={"reason": decision.reason})


def _socket_that_notices(address: AddrInfoType) -> socket.socket:
    family, kind, protocol, _, _ = address
    made = socket.socket(family=family, type=kind, proto=protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _DEAD_PEER:
        made.setsockopt(socket.IPPROTO_TCP, option, value)
    return made
