"""What an administrator decides about the network of all sandboxes, beside what each Environment says.

Given to the operator as one JSON document and handed on to every proxy; docs/egress.md describes each key.
"""

import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from managed_agents.contracts.settings_document import settings_document

Network = IPv4Network | IPv6Network

RELAY_PORT = 3128
"""Where tools find the HTTP proxy in their own Pod: `127.0.0.1:3128` (design §7)."""

WEB_PORTS = (80, 443)
"""The ports that a sandbox may reach where the administrator adds none."""

PACKAGE_MANAGERS = ("apt", "cargo", "gem", "go", "npm", "pip")
"""Whose registries an administrator names; no host is assumed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressRules:
    """The administrator's rules. `hosts` maps a name in lower case to its port, or to None for the usual ones."""

    ports: tuple[int, ...] = ()
    """Ports beside 80 and 443."""
    hosts: Mapping[str, int | None] = field(default_factory=dict)
    """Names that may have an address inside the cluster, such as a registry's; an Environment must allow them too."""
    allowed: tuple[Network, ...] = ()
    """Networks that would be refused as internal and are not."""
    blocked: tuple[Network, ...] = ()
    """Networks refused beside those that are never public: the cluster's, where it uses public addresses."""
    registries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The hosts that `allow_package_managers` adds to a limited Environment, by package manager."""

    authorities: tuple[str, ...] = ()
    """Certificates in PEM that a proxy trusts beside the public ones, where it speaks TLS itself."""

    def registry_hosts(self) -> frozenset[str]:
        """Return the hosts of all package managers."""
        return frozenset(host for hosts in self.registries.values() for host in hosts)


_KEYS = ("ports", "allowed_hosts", "allowed_cidrs", "blocked_cidrs", "registries", "authorities")


def parse_rules(text: str) -> EgressRules:
    """Parse the JSON document; empty text is no rules. Raises: ValueError, naming the key and what is allowed."""
    document = settings_document(text, _KEYS)
    if document is None:
        return EgressRules()
    given = document.get("registries") or {}
    if not isinstance(given, dict) or not set(given) <= set(PACKAGE_MANAGERS):
        raise ValueError(f"registries: an object with keys of {', '.join(PACKAGE_MANAGERS)} is required")
    registries = {manager: tuple(_texts(f"registries.{manager}", hosts)) for manager, hosts in given.items()}
    return EgressRules(
        ports=tuple(_port("ports", port) for port in document.get("ports") or ()),
        hosts=dict(_host(text) for text in _texts("allowed_hosts", document.get("allowed_hosts") or [])),
        allowed=_networks("allowed_cidrs", document.get("allowed_cidrs") or []),
        blocked=_networks("blocked_cidrs", document.get("blocked_cidrs") or []),
        registries=registries,
        authorities=_certificates("authorities", document.get("authorities") or []),
    )


def _texts(key: str, value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise TypeError(f"{key}: a list of texts is required")
    return [item.lower().rstrip(".") for item in value]


def _certificates(key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TypeError(f"{key}: a list of certificates in PEM is required")
    for item in value:
        try:
            ssl.PEM_cert_to_DER_cert(item)
        except ValueError:
            raise ValueError(f"{key}: each entry is one certificate in PEM") from None
    return tuple(value)


def _port(key: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 65535:
        raise ValueError(f"{key}: {value!r} is not a port, 1 to 65535")
    return value


def _host(text: str) -> tuple[str, int | None]:
    name, colon, port = text.partition(":")
    if colon and not (port.isascii() and port.isdigit()):
        raise ValueError(f"allowed_hosts: {text!r} is not NAME or NAME:PORT")
    return name, _port("allowed_hosts", int(port)) if colon else None


def _networks(key: str, value: Any) -> tuple[Network, ...]:
    return tuple(_networks_of(key, _texts(key, value)))


def _networks_of(key: str, texts: Iterable[str]) -> Iterable[Network]:
    for text in texts:
        try:
            yield ip_network(text)
        except ValueError as problem:
            raise ValueError(f"{key}: {problem}") from None
