"""May a sandbox reach this host, and this address? Pure decisions; deny by default (design §8, guarantees A15, A17)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_network
from typing import Any, Literal

from managed_agents.contracts.egress import WEB_PORTS, EgressRules
from managed_agents.proxy.egress_hosts import Address, Target

Reason = Literal[
    "unrestricted",
    "allowed_host",
    "package_manager",
    "administrator",
    "not_allowed",
    "ip_address",
    "internal_address",
    "internal_name",
    "port",
]
"""Why a destination is reached or refused, as the audit log names it."""

_INTERNAL_SUFFIXES = ("localhost", "local", "internal", "svc", "cluster.local")
_NEVER = tuple(
    ip_network(text)
    for text in (
        "168.63.129.16/32",  # Azure's host agent, with instance metadata
        "192.0.0.0/24",  # protocol assignments, and a cloud's metadata (192.0.0.192); Python calls most of it global
        "192.88.99.0/24",  # 6to4 relays
        "2002::/16",  # 6to4: another address is inside
        "2001::/32",  # Teredo: likewise
        "3fff::/20",  # documentation
        "fec0::/10",  # site-local, which Python calls global
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True, kw_only=True)
class Networking:
    """An Environment's networking. `hosts` holds names and `*.` wildcards, in lower case."""

    is_limited: bool
    hosts: frozenset[str] = field(default_factory=frozenset)
    allows_package_managers: bool = False
    allows_mcp_servers: bool = False
    """Said to the session's own MCP listener; it opens nothing to a sandbox."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Whether a destination may be reached; `message` says of a refusal what to do about it."""

    is_allowed: bool
    reason: Reason
    message: str = ""


def networking_from(config: Mapping[str, Any]) -> Networking:
    """Read `environment.config` of a session config; what is not known to be open is closed."""
    given = config.get("networking") or {}
    if given.get("type") == "unrestricted":
        return Networking(is_limited=False)
    hosts = frozenset(str(host).lower().removesuffix(".") for host in given.get("allowed_hosts") or ())
    return Networking(
        is_limited=True,
        hosts=hosts,
        allows_package_managers=given.get("allow_package_managers") is True,
        allows_mcp_servers=given.get("allow_mcp_servers") is True,
    )


def decide(target: Target, networking: Networking, rules: EgressRules) -> Decision:
    """Judge a destination before its name is resolved."""
    if target.address is not None:
        named = _literal(target, networking, rules)
    else:
        named = _named(target.host, networking, rules)
    if not named.is_allowed:
        return named
    ports = {*WEB_PORTS, *rules.ports}
    if target.port not in ports and rules.hosts.get(target.host) != target.port:
        text = f"port {target.port} of {target.host} is not open to sandboxes; use {_listed(sorted(ports))}"
        return Decision(is_allowed=False, reason="port", message=text)
    return named


def address_is_open(address: Address, host: str, rules: EgressRules) -> bool:
    """Tell whether an address that a permitted host resolved to may be dialled."""
    plain = _unwrapped(address)
    if host in rules.hosts or any(plain in network for network in rules.allowed):
        return True
    if any(plain in network for network in (*rules.blocked, *_NEVER)):
        return False
    return plain.is_global and not plain.is_multicast and not plain.is_reserved


def internal_address(host: str) -> Decision:
    """Refuse a host whose addresses are all closed."""
    text = (
        f"{host} has no public address: sandboxes reach none inside the cluster or its network; "
        f"an administrator can allow it (docs/egress.md)"
    )
    return Decision(is_allowed=False, reason="internal_address", message=text)


def _literal(target: Target, networking: Networking, rules: EgressRules) -> Decision:
    assert target.address is not None  # noqa: S101 - the caller has looked
    if networking.is_limited:
        text = f"{target.host} is an IP address, and this environment allows hosts by their names only"
        return Decision(is_allowed=False, reason="ip_address", message=text)
    if not address_is_open(target.address, target.host, rules):
        return internal_address(target.host)
    return Decision(is_allowed=True, reason="unrestricted")


def _named(host: str, networking: Networking, rules: EgressRules) -> Decision:
    if host not in rules.hosts and _is_internal(host):
        text = f"{host} is a name inside the cluster or its network, which sandboxes do not reach"
        return Decision(is_allowed=False, reason="internal_name", message=text)
    if not networking.is_limited:
        return Decision(is_allowed=True, reason="administrator" if host in rules.hosts else "unrestricted")
    if matches(host, networking.hosts):
        return Decision(is_allowed=True, reason="allowed_host")
    if networking.allows_package_managers and host in rules.registry_hosts():
        return Decision(is_allowed=True, reason="package_manager")
    text = (
        f"{host} is not allowed by this environment; add it to networking.allowed_hosts "
        f"of the environment and start a new session"
    )
    return Decision(is_allowed=False, reason="not_allowed", message=text)


def _is_internal(host: str) -> bool:
    return "." not in host or any(host == suffix or host.endswith(f".{suffix}") for suffix in _INTERNAL_SUFFIXES)


def matches(host: str, patterns: frozenset[str]) -> bool:
    """A name matches itself, and `*.` with any of its parents: `*.x` does not match `x`."""
    if host in patterns:
        return True
    labels = host.split(".")
    return any("*." + ".".join(labels[index:]) in patterns for index in range(1, len(labels)))


def _unwrapped(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 one stands for, if it does."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _listed(numbers: Iterable[int]) -> str:
    return " or ".join(str(number) for number in numbers)
