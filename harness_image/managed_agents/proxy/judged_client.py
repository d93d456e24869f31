"""The proxy's own calls to MCP servers and repositories: to addresses that were judged, over TLS that is trusted."""

import ssl
from collections.abc import Callable

from aiohttp import ClientSession, TCPConnector

from managed_agents.contracts.egress import EgressRules
from managed_agents.proxy.connections import client_over, noticing_sockets
from managed_agents.proxy.judging_resolver import JudgingResolver, Resolve

_NOTICING = noticing_sockets(idle_seconds=20, interval_seconds=5, probes=3)
"""A server that vanished is noticed in half a minute, also while it works in silence."""


def judged_client(
    rules: EgressRules, resolve: Resolve, closed: Callable[[str], Exception], *, keepalive_seconds: float
) -> ClientSession:
    """Return a pool of connections that keeps no cookies. `closed` makes the error for a name without open address."""
    connector = TCPConnector(
        limit=0,
        keepalive_timeout=keepalive_seconds,
        use_dns_cache=False,
        resolver=JudgingResolver(rules, resolve, closed),
        socket_factory=_NOTICING,
        ssl=trust_of(rules) if rules.authorities else True,  # a context of its own costs the start of every proxy
    )
    return client_over(connector)


def trust_of(rules: EgressRules) -> ssl.SSLContext:
    """Return whom the proxy trusts: the public authorities and the administrator's. Raises: ssl.SSLError."""
    context = ssl.create_default_context()
    if rules.authorities:
        context.load_verify_locations(cadata="\n".join(rules.authorities))
    return context
