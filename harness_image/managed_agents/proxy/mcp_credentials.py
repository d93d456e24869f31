"""What the file of the session's credentials says of MCP servers (API reference §11).

It holds what the session's vaults hold, in the order in which they win:
`{"session_id", "credentials": [{"id", "vault_id", "type": "static_bearer" | "mcp_oauth" | "environment_variable",
"mcp_server_url"?, "token"?, "access_token"?, …}], "unusable": [{"id", "mcp_server_url", "reason"}]}`. It is absent
where the session has no vault.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from managed_agents.contracts.api.mcp_servers import normalised
from managed_agents.proxy.oauth.grants import OauthCredential, oauth_from

_TOKEN_KEYS = {"static_bearer": "token", "mcp_oauth": "access_token"}


@dataclass(frozen=True, slots=True, kw_only=True)
class McpCredential:
    """One credential of a vault that is meant for an MCP server. `url` is in its one spelling."""

    id: str
    url: str
    bearer: str = field(repr=False)
    oauth: OauthCredential | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unusable:
    """A credential that the operator could not put together; `reason` is that of its Vault's condition."""

    id: str
    url: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialFile:
    """The parsed file."""

    session_id: str = ""
    credentials: tuple[McpCredential, ...] = ()
    unusable: tuple[Unusable, ...] = ()

    def for_url(self, url: str) -> McpCredential | Unusable | None:
        """Return the first credential of a URL in its one spelling, an unusable one only where there is no other."""
        found = next((one for one in self.credentials if one.url == url), None)
        return found or next((one for one in self.unusable if one.url == url), None)


def parse_credentials(content: bytes) -> CredentialFile:
    """Parse the file; what is not for an MCP server is left out. Raises: ValueError naming the field, never a value."""
    document = orjson.loads(content) if content.strip() else {"credentials": []}
    entries = document.get("credentials") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError("credentials: a list is required")
    found = [_credential_from(entry, f"credentials[{index}]") for index, entry in enumerate(entries)]
    return CredentialFile(
        session_id=str(document.get("session_id") or ""),
        credentials=tuple(one for one in found if one is not None),
        unusable=tuple(_unusable_from(entry) for entry in document.get("unusable") or ()),
    )


def _credential_from(entry: object, path: str) -> McpCredential | None:
    if not isinstance(entry, dict):
        raise ValueError(f"{path}: an object is required")
    key = _TOKEN_KEYS.get(str(entry.get("type")))
    if key is None:
        return None
    url, token = entry.get("mcp_server_url"), entry.get(key)
    if not isinstance(url, str) or not url:
        raise ValueError(f"{path}.mcp_server_url: a text is required")
    bearer = token.strip() if isinstance(token, str) else ""
    if not bearer or not bearer.isascii() or not bearer.isprintable():
        raise ValueError(f"{path}.{key}: a text that a header can carry is required")
    try:
        url = normalised(url)
    except ValueError:
        raise ValueError(f"{path}.mcp_server_url: a URL is required") from None
    oauth = oauth_from(entry, bearer, path) if key == "access_token" else None
    return McpCredential(id=str(entry.get("id")), url=url, bearer=bearer, oauth=oauth)


def _unusable_from(entry: Mapping[str, Any]) -> Unusable:
    return Unusable(id=str(entry.get("id")), url=str(entry.get("mcp_server_url")), reason=str(entry.get("reason")))
