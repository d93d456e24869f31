"""How often tokens of the public port may be shown to the kube-apiserver: nobody takes what others need."""

import ipaddress
from dataclasses import dataclass, field

from managed_agents.contracts.clock import Clock
from managed_agents.server.services.buckets import Buckets, TokenBucket
from managed_agents.server.services.errors import RateLimitedError

STRANGERS_PER_MINUTE = 3000
"""Reviews of tokens that nobody knows: strangers who try tokens must not keep Kubernetes busy."""

PEER_PER_MINUTE = 600
"""Those from one address: a fifth, so that one stranger leaves room for new clients from elsewhere."""

KNOWN_PER_MINUTE = 3000
"""Reviews of a tenant's tokens that were valid when last reviewed: each needs six a minute, so 500 can be in use."""

PAYERS_MAX = 10_000

_IPV6_CLIENT_BITS = 64
"""Of an IPv6 address: who has one has a network of them."""


@dataclass(slots=True)
class ReviewBudget:
    """Counts reviews: of unknown tokens by where they come from, of known ones by whose they are."""

    clock: Clock
    _known: Buckets = field(default_factory=lambda: Buckets(PAYERS_MAX))
    _peers: Buckets = field(default_factory=lambda: Buckets(PAYERS_MAX))
    _strangers: TokenBucket = field(default_factory=lambda: TokenBucket(STRANGERS_PER_MINUTE, STRANGERS_PER_MINUTE, 0))

    def take_known(self, tenant: str) -> None:
        """Count the review of a token that was valid before. Raises: RateLimitedError."""
        _require(self._known.take(tenant, KNOWN_PER_MINUTE, self.clock.monotonic()), f"tokens of {tenant}")

    def take_unknown(self, peer: str) -> None:
        """Count the review of a token that nobody knows. Raises: RateLimitedError."""
        now = self.clock.monotonic()
        _require(self._peers.take(client_of(peer), PEER_PER_MINUTE, now), "unknown credentials from this address")
        _require(self._strangers.take(now), "unknown credentials")


def client_of(address: str) -> str:
    """Return under which name an address's requests are counted: IPv6 by network, what is no address as it is."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, _IPV6_CLIENT_BITS), strict=False))
    return str(parsed)


def _require(wait: float, what: str) -> None:
    if wait > 0:
        raise RateLimitedError(f"too many {what} arrive; wait as retry-after says", delay_seconds=wait)
