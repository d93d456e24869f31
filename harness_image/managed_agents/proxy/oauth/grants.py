"""What the proxy knows of an OAuth credential, and when its access token needs another one. Values without I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from managed_agents.contracts.clock import Clock, parse_rfc3339

MARGIN_SECONDS = 5.0
"""An access token with less than this left is renewed before it is used. Small: a token that the MCP server refuses all
the same is renewed then, and one that lives for seconds only would otherwise be renewed with every request."""

MARGIN_SHARE = 0.25
"""Of a token whose whole life is known, the margin is at most this share."""

CLIENT_AUTH = frozenset({"none", "client_secret_basic", "client_secret_post"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Tokens, and when the access token ends: by the wall clock where another told us, by ours where we asked."""

    access_token: str = field(repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    expires_at: datetime | None = None
    due_at: float | None = None
    """On the monotonic clock, so that a wrong wall clock changes nothing for a token that was got here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshTerms:
    """How a new access token is asked for (RFC 6749 §6, RFC 8707)."""

    client_id: str
    token_endpoint: str
    client_auth: str
    client_secret: str | None = field(default=None, repr=False)
    resource: str | None = None
    scope: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OauthCredential:
    """A credential of the type `mcp_oauth` as the file has it. `version` changes with each write of it."""

    id: str
    version: str
    write_back: bool
    grant: Grant
    terms: RefreshTerms | None


def is_due(grant: Grant, clock: Clock) -> bool:
    """Tell whether an access token is to be renewed before it is used."""
    if grant.due_at is not None:
        return clock.monotonic() >= grant.due_at
    if grant.expires_at is None:
        return False
    return (grant.expires_at - clock.now()).total_seconds() < MARGIN_SECONDS


def due_at(expires_in: float | None, now: float) -> float | None:
    """Return when a token that lives so long is to be renewed, on the monotonic clock."""
    return None if expires_in is None else now + expires_in - min(MARGIN_SECONDS, expires_in * MARGIN_SHARE)


def oauth_from(entry: Mapping[str, Any], bearer: str, path: str) -> OauthCredential:
    """Parse an entry of the file. Raises: ValueError naming the field, never a value."""
    refresh = entry.get("refresh")
    if refresh is not None and not isinstance(refresh, dict):
        raise ValueError(f"{path}.refresh: an object is required")
    grant = Grant(
        access_token=bearer,
        refresh_token=None if refresh is None else _text(refresh, "refresh_token", f"{path}.refresh"),
        expires_at=_moment(entry.get("expires_at"), f"{path}.expires_at"),
    )
    return OauthCredential(
        id=str(entry.get("id")),
        version=str(entry.get("version") or ""),
        write_back=entry.get("write_back") is True,
        grant=grant,
        terms=None if refresh is None else _terms(refresh, f"{path}.refresh"),
    )


def _terms(refresh: Mapping[str, Any], path: str) -> RefreshTerms:
    auth = refresh.get("token_endpoint_auth")
    kind = auth.get("type") if isinstance(auth, dict) else None
    if not isinstance(auth, dict) or kind not in CLIENT_AUTH:
        raise ValueError(f"{path}.token_endpoint_auth.type: must be one of {', '.join(sorted(CLIENT_AUTH))}")
    secret = None if kind == "none" else _text(auth, "client_secret", f"{path}.token_endpoint_auth")
    return RefreshTerms(
        client_id=_text(refresh, "client_id", path),
        token_endpoint=_text(refresh, "token_endpoint", path),
        client_auth=str(kind),
        client_secret=secret,
        resource=refresh.get("resource") or None,
        scope=refresh.get("scope") or None,
    )


def _text(value: Mapping[str, Any], key: str, path: str) -> str:
    found = value.get(key)
    if not isinstance(found, str) or not found:
        raise ValueError(f"{path}.{key}: a text is required")
    return found


def _moment(value: object, path: str) -> datetime | None:
    if value is None:
        return None
    try:
        moment = parse_rfc3339(str(value))
    except ValueError:
        raise ValueError(f"{path}: an RFC 3339 time is required") from None
    if moment.tzinfo is None:
        raise ValueError(f"{path}: a time with its zone is required")
    return moment
