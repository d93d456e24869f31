"""What of an OAuth grant the proxy needs beside its tokens: which version it is, and whether a renewed one goes back.

A grant goes back into Secrets that the server made. One that a user keeps (kubectl, External Secrets, Sealed Secrets)
has an owner that would undo it, so there a renewed grant stays in the proxy's memory (docs/mcp.md). Pure.
"""

import base64
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import orjson

from managed_agents.contracts import names
from managed_agents.contracts.api.vault_grants import grant_keys
from managed_agents.contracts.api.vaults import LABEL_VAULT, SECRET_PREFIX
from managed_agents.contracts.clock import parse_rfc3339
from managed_agents.kube.resources import Manifest

FoundSecret = Manifest | Literal["denied"] | None
"""A Secret; null for one that is not there."""

Secrets = Mapping[str, FoundSecret]
"""Secrets of a namespace by name."""


def grant_fields(entry: Mapping[str, Any], secrets: Secrets) -> dict[str, Any]:
    """Return `version` and `write_back` of a credential whose Secret was read, and the expiry that is kept with it."""
    found = secrets.get(entry["auth"]["accessToken"]["secretKeyRef"]["name"])
    secret = found if isinstance(found, dict) else {}
    version, expiry = (_text(secret, key) for key in grant_keys(entry["name"]))
    if not _is_ours(secret) or not version:
        seen = (secret.get("metadata") or {}).get("resourceVersion")
        digest = names.short_hash(orjson.dumps([seen, entry["auth"]], option=orjson.OPT_SORT_KEYS).decode(), 16)
        return {"version": digest, "write_back": False}
    return {"version": version, "write_back": True, "expires_at": expiry or None}


def has_expired(entry: Mapping[str, Any], now: datetime) -> bool:
    """Tell whether an entry of the proxy's file is of no use any more: past its time, and nothing to renew it with."""
    if "expires_at" not in entry or "refresh" in entry:
        return False
    try:
        return parse_rfc3339(entry["expires_at"]) <= now
    except (TypeError, ValueError):  # without a zone, or no time: the MCP server will say
        return False


def _is_ours(secret: Manifest) -> bool:
    metadata = secret.get("metadata") or {}
    return str(metadata.get("name")).startswith(SECRET_PREFIX) and LABEL_VAULT in (metadata.get("labels") or {})


def _text(secret: Manifest, key: str) -> str:
    """Return a value that is ours, empty where it is none."""
    try:
        return base64.b64decode((secret.get("data") or {}).get(key) or "").decode("ascii")
    except ValueError:
        return ""
