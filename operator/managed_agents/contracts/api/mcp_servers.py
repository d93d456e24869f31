"""An agent's MCP servers: what is wrong with them, and when two URLs are the same (API reference §4.3, §11). Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any
from urllib.parse import SplitResult, urlsplit

from managed_agents.contracts.api.casing import camel
from managed_agents.contracts.api.tools import MCP_TOOLSET

_DEFAULT_PORTS = {"http": 80, "https": 443}
_LOCAL = ("localhost", "localhost.localdomain")
_METADATA = frozenset({"metadata.google.internal", "instance-data.ec2.internal"})
_AZURE = IPv4Address("168.63.129.16")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What is wrong with one field of one entry of `tools` or `mcp_servers`."""

    listed: str
    index: int
    key: str
    message: str

    @property
    def path(self) -> str:
        """Return the field's path in the API's form."""
        return f"{self.listed}.{self.index}.{self.key}"

    def __str__(self) -> str:
        return f"spec.{camel(self.listed)}[{self.index}].{camel(self.key)}: {self.message}"


def problems(tools: Sequence[Mapping[str, Any]], servers: Sequence[Mapping[str, Any]]) -> Iterator[Problem]:
    """Yield what is wrong: each server needs a toolset and the other way round, and a URL that may be reached."""
    used = {tool["mcp_server_name"] for tool in tools if tool["type"] == MCP_TOOLSET}
    declared = {server["name"] for server in servers}
    for index, server in enumerate(servers):
        if server["name"] not in used:
            text = f"no tool of type mcp_toolset names the server {server['name']!r}; add one to tools"
            yield Problem(listed="mcp_servers", index=index, key="name", message=text)
        if (problem := problem_of(server["url"])) is not None:
            yield Problem(listed="mcp_servers", index=index, key="url", message=problem)
    for index, tool in enumerate(tools):
        if tool["type"] == MCP_TOOLSET and tool["mcp_server_name"] not in declared:
            text = f"mcp_servers has no server {tool['mcp_server_name']!r}; add it"
            yield Problem(listed="tools", index=index, key="mcp_server_name", message=text)


def normalised(url: str) -> str:
    """Return a URL's one spelling: scheme and host in lower case, without default port and trailing slash.

    Path, query, subdomain and any other port stay what they are. Raises: ValueError where it is no URL.
    """
    parts = urlsplit(url)
    scheme, port = parts.scheme.lower(), parts.port
    host = (parts.hostname or "").removesuffix(".")
    shown = f"[{host}]" if ":" in host else host
    authority = shown if port in (None, _DEFAULT_PORTS.get(scheme)) else f"{shown}:{port}"
    query = f"?{parts.query}" if parts.query else ""
    return f"{scheme}://{authority}{parts.path.rstrip('/')}{query}"


def problem_of(url: str) -> str | None:
    """Say why a server of this URL can never be reached, whatever an administrator allows; None if it may be.

    Private addresses and names of the cluster are judged when they are dialled: an administrator may allow them.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "is not a URL"
    if not host:
        return "names no host"
    name = host.lower().removesuffix(".")
    if name in _LOCAL or name.endswith(".localhost"):
        return f"names this machine ({name}), where no MCP server of yours runs"
    if name in _METADATA:
        return f"names a cloud's metadata service ({name})"
    return _address_problem(parts)


def _address_problem(parts: SplitResult) -> str | None:
    try:
        address = ip_address(parts.hostname or "")
    except ValueError:
        return None
    plain = _unwrapped(address)
    if plain.is_loopback or plain.is_unspecified:
        return f"names this machine ({address}), where no MCP server of yours runs"
    if plain.is_link_local or plain == _AZURE:
        return f"names a link-local address ({address}), such as a cloud's metadata service"
    if plain.is_multicast:
        return f"names a multicast address ({address})"
    return None


def _unwrapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
