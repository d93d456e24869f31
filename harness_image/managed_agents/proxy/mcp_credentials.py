"""Which credential goes with an MCP server (API reference §11).

The file holds what the session's vaults hold, in the order in which they win:
`{"credentials": [{"id", "vault_id", "type": "static_bearer" | "mcp_oauth" | "environment_variable",
"mcp_server_url"?, "token"?, "access_token"?, …}]}`. It is absent where the session has no vault.
"""

from dataclasses import dataclass, field
from typing import Protocol

import orjson

from managed_agents.contracts.api.mcp_servers import normalised
from managed_agents.proxy.errors import RefusedError
from managed_agents.proxy.watched_file import WatchedFile

_TOKEN_KEYS = {"static_bearer": "token", "mcp_oauth": "access_token"}


class CredentialSource(Protocol):
    """Knows the bearer token of an MCP server."""

    def bearer_for(self, server_url: str) -> str | None:
        """Return the token that goes with this server, None where there is none."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class McpCredential:
    """One credential of a vault that is meant for an MCP server. `url` is in its one spelling."""

    url: str
    bearer: str = field(repr=False)


Credentials = tuple[McpCredential, ...]


class FileCredentials:
    """Reads the mounted file at each question, so that a rotation reaches a running session."""

    def __init__(self, file: WatchedFile[Credentials]) -> None:
        self._file = file

    def bearer_for(self, server_url: str) -> str | None:
        """Return the first credential whose URL equals the server's. Raises: RefusedError, 503, on a broken file."""
        wanted = normalised(server_url)
        try:
            credentials = self._file.read()
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as problem:
            # Our own errors name the field only; those of JSON and of the system hold no content.
            raise RefusedError(503, "credentials_unreadable", f"the session's credentials: {problem}") from None
        return next((one.bearer for one in credentials if one.url == wanted), None)


def parse_credentials(content: bytes) -> Credentials:
    """Parse the file; what is not for an MCP server is left out. Raises: ValueError naming the field, never a value."""
    document = orjson.loads(content) if content.strip() else {"credentials": []}
    entries = document.get("credentials") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError("credentials: a list is required")
    found = [_credential_from(entry, f"credentials[{index}]") for index, entry in enumerate(entries)]
    return tuple(one for one in found if one is not None)


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
        return McpCredential(url=normalised(url), bearer=bearer)
    except ValueError:
        raise ValueError(f"{path}.mcp_server_url: a URL is required") from None
