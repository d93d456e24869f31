"""Whether an OAuth credential works, as far as the server can know: what proxies of sessions found last. Pure.

The server can neither read a grant nor reach an MCP server. Where a session lives that has the credential, its proxy
tries it (`credential_probes.py`). Where none does, `valid` is a grant that was renewed and whose token has not ended,
`invalid` one that its token endpoint refused or that has ended for good, all else `unknown`.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from managed_agents.contracts.api.vault_grants import REFUSED, problems_of
from managed_agents.contracts.api.vaults import MCP_OAUTH, credential_id_for, vault_id_of
from managed_agents.contracts.clock import parse_rfc3339, rfc3339
from managed_agents.contracts.errors import RejectedError
from managed_agents.kube.resources import Manifest
from managed_agents.server.services.vault_rules import entry_of, require_active, times_of

Json = dict[str, Any]


def validation_of(vault: Manifest, credential_id: str, now: datetime) -> Json:
    """Render the API's `vault_credential_validation`. Raises: NotFoundError, RejectedError."""
    entry = entry_of(vault, credential_id)
    require_active(vault, entry)
    auth = entry["auth"]
    if auth["type"] != MCP_OAUTH:
        raise RejectedError(f"auth.type: only {MCP_OAUTH} can be validated, found {auth['type']}", field="auth.type")
    status, refresh, at = _finding(vault, entry, now)
    return {
        "type": "vault_credential_validation",
        "credential_id": credential_id_for(vault, entry["name"]),
        "vault_id": vault_id_of(vault),
        "status": status,
        "has_refresh_token": auth.get("refresh") is not None,
        "mcp_probe": None,
        "refresh": None if refresh is None else {"status": refresh, "http_response": None},
        "validated_at": at,
    }


def _finding(vault: Manifest, entry: Mapping[str, Any], now: datetime) -> tuple[str, str | None, str]:
    """Return the verdict, what a refresh came to, and when that was found."""
    has_ended = _has_ended(entry["auth"], now)
    if has_ended and entry["auth"].get("refresh") is None:
        return "invalid", "no_refresh_token", rfc3339(now)
    problem = problems_of(vault).get(entry["name"])
    if problem is not None:
        is_refused = problem["kind"] == REFUSED
        return ("invalid", "failed", problem["at"]) if is_refused else ("unknown", "connect_error", problem["at"])
    times = times_of(vault).get(entry["name"], {})
    refreshed = times.get("refreshed")
    if refreshed is not None and refreshed >= times.get("updated", "") and not has_ended:
        return "valid", "succeeded", refreshed
    return "unknown", None, rfc3339(now)


def _has_ended(auth: Mapping[str, Any], now: datetime) -> bool:
    try:
        return parse_rfc3339(auth["expiresAt"]) <= now
    except (KeyError, TypeError, ValueError):  # for ever, or a time that only YAML lets pass
        return False
