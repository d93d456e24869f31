"""The vaults' `environment_variable` credentials, as the egress needs them (API reference §4.8 and §11).

They come in the same file as those of MCP servers (`mcp_credentials.py`), each name at most once:
`{"session_id", "credentials": [{"id", "type": "environment_variable", "secret_name", "secret_value",
"networking": {"type": "unrestricted"} | {"type": "limited", "allowed_hosts"},
"injection_location": {"header", "body"}}]}`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from managed_agents.proxy.egress_rules import matches


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentCredential:
    """One credential. `hosts` are names and `*.` wildcards in lower case; null stands for every host."""

    id: str
    name: str
    value: str = field(repr=False)
    hosts: frozenset[str] | None
    in_header: bool
    in_body: bool
    vault_id: str = ""

    def goes_to(self, host: str) -> bool:
        """Tell whether the value may be sent to a host."""
        return self.hosts is None or self.names(host)

    def names(self, host: str) -> bool:
        """Tell whether the credential is meant for this host, and not merely for every one."""
        return self.hosts is not None and matches(host, self.hosts)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentCredentials:
    """What the file holds, and of which session; null where it does not say."""

    session_id: str | None = None
    credentials: tuple[EnvironmentCredential, ...] = ()


def parse_environment_credentials(content: bytes) -> EnvironmentCredentials:
    """Parse the file; what is for MCP servers is left out. Raises: ValueError naming the field, never a value."""
    document = orjson.loads(content) if content.strip() else {"credentials": []}
    entries = document.get("credentials") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError("credentials: a list is required")
    session_id = document.get("session_id")
    return EnvironmentCredentials(
        session_id=session_id if isinstance(session_id, str) else None,
        credentials=tuple(
            _credential_from(entry, f"credentials[{index}]")
            for index, entry in enumerate(entries)
            if isinstance(entry, dict) and entry.get("type") == "environment_variable"
        ),
    )


def _credential_from(entry: Mapping[str, Any], path: str) -> EnvironmentCredential:
    location = entry.get("injection_location")
    if not isinstance(location, dict):
        raise ValueError(f"{path}.injection_location: an object is required")
    return EnvironmentCredential(
        id=_text(entry, "id", path),
        name=_text(entry, "secret_name", path),
        value=_text(entry, "secret_value", path),
        hosts=_hosts_from(entry.get("networking"), f"{path}.networking"),
        in_header=location.get("header") is True,
        in_body=location.get("body") is True,
        vault_id=str(entry.get("vault_id") or ""),
    )


def _hosts_from(networking: object, path: str) -> frozenset[str] | None:
    """What is not known to be open is closed."""
    if not isinstance(networking, dict):
        raise ValueError(f"{path}: an object is required")
    if networking.get("type") == "unrestricted":
        return None
    hosts = networking.get("allowed_hosts")
    if not isinstance(hosts, list) or not all(isinstance(host, str) and host for host in hosts):
        raise ValueError(f"{path}.allowed_hosts: a list of texts is required")
    return frozenset(host.lower().removesuffix(".") for host in hosts)


def _text(entry: Mapping[str, Any], key: str, path: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{path}.{key}: a text is required")
    return value
