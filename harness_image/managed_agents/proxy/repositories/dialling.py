"""May a repository's host be reached, and at which address, before any token goes there (A17, A23)."""

from aiohttp import ClientSession
from yarl import URL

from managed_agents.contracts.egress import EgressRules
from managed_agents.proxy.egress_hosts import Target
from managed_agents.proxy.egress_rules import Decision, Networking, decide, internal_address
from managed_agents.proxy.errors import RefusedError
from managed_agents.proxy.judged_client import judged_client
from managed_agents.proxy.judging_resolver import Resolve

KEEPALIVE_SECONDS = 15.0
"""A clone is two or three requests, one after the other."""


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
    """Return a pool of connections to hosts of repositories."""
    return judged_client(rules, resolve, _closed, keepalive_seconds=KEEPALIVE_SECONDS)


def _closed(host: str) -> RefusedError:
    return _refused(internal_address(host))


def _require(decision: Decision) -> None:
    if not decision.is_allowed:
        raise _refused(decision)


def _refused(decision: Decision) -> RefusedError:
    return RefusedError(403, "repository_forbidden_error", decision.message, detail={"reason": decision.reason})
