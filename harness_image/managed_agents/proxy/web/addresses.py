"""Where a web tool may go: http and https, public addresses, the ports of the egress rules (docs/egress.md).

An address is judged when it is dialled: the connector asks this module's resolver for each name, and connects to what
it returned and to nothing else, so that a name that changes its mind in between changes nothing (A17).
"""

import re

from aiohttp import TCPConnector
from yarl import URL

from managed_agents.contracts.egress import EgressRules
from managed_agents.proxy.egress_hosts import MalformedHostError, Target, target_from
from managed_agents.proxy.egress_rules import Networking, Reason, decide
from managed_agents.proxy.judging_resolver import JudgingResolver, Resolve
from managed_agents.proxy.web.domains import DomainRules
from managed_agents.proxy.web.problems import WebProblemError

URL_CHARACTERS_MAX = 2048

_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\\]")
_OPEN = Networking(is_limited=False)
"""An Environment's networking is the sandbox's: it never affects web tools (API reference §4.4)."""

_REFUSALS: dict[Reason, str] = {
    "internal_name": "it is a name inside a cluster or its network; web tools reach public hosts only",
    "internal_address": "it has no public address; web tools reach public hosts only",
    "ip_address": "it is an IP address",
    "port": "this port is not open to web tools; use 80 or 443",
}


class ClosedAddressError(OSError):
    """A name has addresses, and none of them may be dialled."""


def url_from(text: str) -> URL:
    """Return a URL whose host is in its one spelling. Raises: WebProblemError."""
    if len(text) > URL_CHARACTERS_MAX:
        raise WebProblemError("url_too_long", f"a URL may have at most {URL_CHARACTERS_MAX} characters")
    given = text.strip()
    if _FORBIDDEN.search(given):
        raise WebProblemError("invalid_tool_input", "url: spaces, control characters and backslashes must be encoded")
    try:
        url = URL(given)
        host, port = url.host, url.port
        if url.scheme not in ("http", "https") or not host or port is None:
            raise WebProblemError("invalid_tool_input", "url: a full http:// or https:// URL is required")
        if url.raw_user is not None or url.raw_password is not None:
            raise WebProblemError("invalid_tool_input", "url: credentials in a URL are not supported")
        return url.with_host(target_from(host, port).host).with_fragment(None)
    except (MalformedHostError, ValueError, UnicodeError) as problem:
        raise WebProblemError("invalid_tool_input", f"url: {problem}") from None


def require_open(url: URL, domains: DomainRules, rules: EgressRules) -> None:
    """Judge a URL before its name is resolved. Raises: WebProblemError, `url_not_allowed`."""
    target = _target(url)
    if not domains.permit(target.host):
        raise WebProblemError(
            "url_not_allowed", f"{target.host} is not among the domains that this agent's web_fetch may read"
        )
    decision = decide(target, _OPEN, rules)
    if not decision.is_allowed:
        raise refused(target.host, decision.reason)


def refused(host: str, reason: Reason) -> WebProblemError:
    """Say why the egress rules keep a host closed."""
    return WebProblemError("url_not_allowed", f"{host} cannot be read: {_REFUSALS.get(reason, reason)}")


def guarded_connector(rules: EgressRules, resolve: Resolve) -> TCPConnector:
    """Return a connector that dials judged addresses, and keeps neither answers of the DNS nor connections."""
    return TCPConnector(
        resolver=JudgingResolver(rules, resolve, ClosedAddressError), use_dns_cache=False, force_close=True
    )


def _target(url: URL) -> Target:
    assert url.host is not None  # noqa: S101 - url_from has looked
    assert url.port is not None  # noqa: S101 - as above
    return target_from(url.host, url.port)
