"""May an MCP server be reached, and at which address: decided before anything is sent to it (A23)."""

from dataclasses import replace

from aiohttp import ClientSession
from yarl import URL

from managed_agents.contracts.egress import EgressRules
from managed_agents.proxy.egress_hosts import MalformedHostError, shown, target_from
from managed_agents.proxy.egress_rules import Decision, Networking, decide
from managed_agents.proxy.errors import RefusedError
from managed_agents.proxy.judged_client import judged_client
from managed_agents.proxy.judging_resolver import Resolve

KEEPALIVE_SECONDS = 30.0
"""How long an unused connection is kept; a call often follows another within seconds."""


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
    """Return a pool of connections to MCP servers and to the endpoints of their tokens."""
    return judged_client(rules, resolve, _closed, keepalive_seconds=KEEPALIVE_SECONDS)


_WORDS = {
    "internal_address": "has no public address; an administrator can allow it (docs/egress.md)",
    "internal_name": "is a name inside the cluster or its network; an administrator can allow it (docs/egress.md)",
    "ip_address": "is an IP address, which this environment does not allow; set networking.allow_mcp_servers",
    "not_allowed": "is not allowed by this environment; set networking.allow_mcp_servers, or add it to "
    "networking.allowed_hosts",
}


def _closed(host: str) -> RefusedError:
    return _refused(host, Decision(is_allowed=False, reason="internal_address"))


def _refused(host: str, decision: Decision) -> RefusedError:
    said = _WORDS.get(decision.reason)
    text = f"{shown(host)} {said}" if said else decision.message
    return RefusedError(403, "mcp_not_allowed", text, detail={"reason": decision.reason})
