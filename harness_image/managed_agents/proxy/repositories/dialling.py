"""May a repository's host be reached, and at which address, before any token goes there (A17, A23)."""

import ssl

from aiohttp import ClientSession, TCPConnector
from yarl import URL

from managed_agents.contracts.egress import EgressRules
from managed_agents.proxy.connections import client_over, noticing_sockets
from managed_agents.proxy.egress_hosts import Target
from managed_agents.proxy.egress_rules import Decision, Networking, decide, internal_address
from managed_agents.proxy.errors import RefusedError
from managed_agents.proxy.judging_resolver import JudgingResolver, Resolve

KEEPALIVE_SECONDS = 15.0
"""A clone is two or three requests, one after the other."""

_NOTICING = noticing_sockets(idle_seconds=20, interval_seconds=5, probes=3)


def require_open(repository: Target, networking: Networking, rules: EgressRules) -> None:
    """Require that the Environment lets the session reach the repository's host. Raises: RefusedError, 403."""
    _require(decide(repository, networking, rules))


def require_api_open(api: Target, rules: EgressRules) -> None:
    """Require that the host of the API may be reached at all: the repository brings it along. Raises: RefusedError."""
    _require(decide(api, Networking(is_limited=False), rules))


def url_of(target: Target, raw: str) -> URL:
    """Return the URL of a raw path and query at a host."""
    host = f"[{target.host}]" if ":" in target.host else target.host
    return URL(f"https://{host}:{target.port}{raw}", encoded=True)


def client_for(rules: EgressRules, resolve: Resolve) -> ClientSession:
    """Return a pool of connections over TLS, each to an address that was judged. It keeps no cookies."""
    connector = TCPConnector(
        limit=0,
        keepalive_timeout=KEEPALIVE_SECONDS,
        use_dns_cache=False,
        resolver=JudgingResolver(rules, resolve, _closed),
        socket_factory=_NOTICING,
        ssl=trust_of(rules) if rules.authorities else True,  # a context of its own costs the start of every proxy
    )
    return client_over(connector)


def trust_of(rules: EgressRules) -> ssl.SSLContext:
    """Return whom the proxy trusts: the public authorities and the administrator's. Raises: ssl.SSLError."""
    context = ssl.create_default_context()
    context.load_verify_locations(cadata="\n".join(rules.authorities))
    return context


def _closed(host: str) -> RefusedError:
    return _refused(internal_address(host))


def _require(decision: Decision) -> None:
    if not decision.is_allowed:
        raise _refused(decision)


def _refused(decision: Decision) -> RefusedError:
    return RefusedError(403, "repository_forbidden_error", decision.message, detail={"reason": decision.reason})
