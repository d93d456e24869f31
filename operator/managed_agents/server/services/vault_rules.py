"""What a change makes of a Vault and its credentials (API reference §4.8). Pure.

An `auth` is kept in the form of the spec, in which each secret is a reference; the secrets themselves go aside, under
the key of the Secret that they belong into.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from managed_agents.contracts import names
from managed_agents.contracts.api.agents import spec_value
from managed_agents.contracts.api.vault_grants import grant_keys
from managed_agents.contracts.api.vaults import (
    CREDENTIALS_MAX,
    MCP_OAUTH,
    SECRET_PREFIX,
    credential_id_for,
    injection_location_of,
    key_of,
    secret_references,
    vault_id_of,
)
from managed_agents.contracts.clock import parse_rfc3339
from managed_agents.contracts.errors import NotFoundError, RejectedError
from managed_agents.kube.resources import Manifest
from managed_agents.server.bodies.fields import METADATA_PAIRS_MAX
from managed_agents.server.bodies.vaults import AuthCreate, AuthUpdate, CredentialUpdate, opened
from managed_agents.server.services.errors import ApiConflictError
from managed_agents.server.services.patches import patched_metadata

ANNOTATION_TIMES = f"{names.GROUP}/credential-times"
"""JSON: by a credential's name, when it was created, updated and archived through the API."""

SECRET_KEYS = ("token", "access-token", "refresh-token", "client-secret", "secret-value")
_KEYS = {key.replace("-", "_"): key for key in SECRET_KEYS}

Json = dict[str, Any]
Times = dict[str, dict[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """An `auth` of the spec, and the secrets that it refers to by their keys."""

    auth: Mapping[str, Any]
    secrets: Mapping[str, str]

    def __repr__(self) -> str:
        """Never show a secret."""
        return f"Sealed(keys={sorted(self.secrets)!r})"


def secret_name_for(vault: Manifest) -> str:
    """Name the Secret that holds what came by the API for a Vault; another Vault of that name has another one."""
    metadata = vault["metadata"]
    return f"{SECRET_PREFIX}{metadata['name']}.{names.short_hash(metadata['uid'], 8)}"


def sealed(auth: AuthCreate, name: str, secret_name: str, now: datetime) -> Sealed:
    """Return a new credential's `auth` and its secrets. Raises: RejectedError."""
    fields = opened(auth.model_dump(exclude_none=True))
    _require_future(fields.get("expires_at"), now)
    if "injection_location" in fields:
        _require_a_place(fields["injection_location"])
    secrets: dict[str, str] = {}
    return Sealed(auth=spec_value(_referring(fields, name, secret_name, secrets)), secrets=secrets)


def resealed(entry: Mapping[str, Any], auth: AuthUpdate, secret_name: str, now: datetime) -> Sealed:
    """Return a credential's `auth` after a change, and the secrets to write. Raises: RejectedError."""
    stored = entry["auth"]
    if auth.type != stored["type"]:
        text = f"auth.type: cannot change from {stored['type']} to {auth.type}; create another credential"
        raise RejectedError(text, field="auth.type")
    fields = opened(auth.model_dump(exclude_unset=True))
    _require_own(stored, secret_name)
    _require_future(fields.get("expires_at"), now)
    secrets: dict[str, str] = {}
    changed = {key: value for key, value in fields.items() if key not in ("refresh", "injection_location", "type")}
    after = _laid_over(stored, changed, entry["name"], secret_name, secrets)
    if fields.get("refresh"):
        after["refresh"] = _refreshed(stored.get("refresh"), fields["refresh"], entry["name"], secret_name, secrets)
    if fields.get("injection_location"):
        places = injection_location_of(stored.get("injectionLocation")) | fields["injection_location"]
        _require_a_place(places)
        after["injectionLocation"] = places
    return Sealed(auth=after, secrets=secrets)


def granted(name: str, made: Sealed, version: str) -> dict[str, str]:
    """Return the secrets to write of a credential; with those of a grant goes a version that it never had."""
    if made.auth["type"] != MCP_OAUTH:
        return dict(made.secrets)
    version_key, expiry_key = grant_keys(name)
    return {**made.secrets, version_key: version, expiry_key: made.auth.get("expiresAt", "")}


def stripped(auth: Mapping[str, Any]) -> Json:
    """Return an `auth` without its secrets, as a record."""
    return {
        key: stripped(value) if isinstance(value, Mapping) else value
        for key, value in auth.items()
        if not (isinstance(value, Mapping) and "secretKeyRef" in value)
    }


def is_held_by(auth: Mapping[str, Any], secret_name: str) -> bool:
    """Tell whether any secret of an `auth` is in this Secret."""
    return any(reference["name"] == secret_name for _, reference in secret_references(auth))


def updated_entry(entry: Mapping[str, Any], body: CredentialUpdate, auth: Mapping[str, Any]) -> Json:
    """Return a credential of the spec after a change. Raises: RejectedError."""
    after = {**entry, "auth": dict(auth)}
    if "display_name" in body.model_fields_set:
        after["displayName"] = body.display_name
    if body.metadata is not None:
        after["metadata"] = metadata_after(entry.get("metadata"), body.metadata)
    return {key: value for key, value in after.items() if value not in (None, {})}


def metadata_after(stored: Mapping[str, str] | None, patch: Mapping[str, str | None]) -> dict[str, str]:
    """Return a metadata bag after a patch. Raises: RejectedError."""
    merged = patched_metadata(stored or {}, patch)
    if len(merged) > METADATA_PAIRS_MAX:
        text = f"metadata: may hold at most {METADATA_PAIRS_MAX} pairs, would hold {len(merged)}"
        raise RejectedError(text, field="metadata", error_code="invalid_metadata")
    return merged


def credentials_of(vault: Manifest) -> list[Json]:
    """Return the credentials of a Vault's spec."""
    return list(vault["spec"].get("credentials") or ())


def entry_of(vault: Manifest, credential_id: str) -> Json:
    """Return the credential of an id. Raises: NotFoundError."""
    for entry in credentials_of(vault):
        if credential_id_for(vault, entry["name"]) == credential_id:
            return entry
    raise NotFoundError(f"credential {credential_id} not found in vault {vault_id_of(vault)}")


def with_entry(vault: Manifest, entry: Json) -> list[Json]:
    """Return a Vault's credentials with this one in the place of the one of its name, or at the end."""
    known = credentials_of(vault)
    if not any(item["name"] == entry["name"] for item in known):
        return [*known, entry]
    return [entry if item["name"] == entry["name"] else item for item in known]


def require_active(vault: Manifest, entry: Mapping[str, Any] | None = None) -> None:
    """Refuse a change of what is archived. Raises: RejectedError."""
    if vault["spec"].get("archived"):
        raise RejectedError(f"{vault_id_of(vault)} is archived and cannot change; create another vault")
    if entry is not None and entry.get("archived"):
        shown = credential_id_for(vault, entry["name"])
        raise RejectedError(f"{shown} is archived and cannot change; create another credential")


def require_room(vault: Manifest, auth: Mapping[str, Any]) -> None:
    """Refuse a credential too many, or one for what another is for. Raises: RejectedError, ApiConflictError."""
    known = credentials_of(vault)
    for entry in known:
        if not entry.get("archived") and key_of(entry["auth"]) == key_of(auth):
            field = "secret_name" if key_of(auth)[0] == "secretName" else "mcp_server_url"
            shown = credential_id_for(vault, entry["name"])
            raise ApiConflictError(f"auth.{field}: {shown} of this vault has the same; archive it or change it")
    if len(known) >= CREDENTIALS_MAX:
        text = f"a vault holds at most {CREDENTIALS_MAX} credentials, archived ones counted; delete one"
        raise RejectedError(text)


def times_of(vault: Manifest) -> Times:
    """Return what the API noted of a Vault's credentials."""
    noted = (vault["metadata"].get("annotations") or {}).get(ANNOTATION_TIMES)
    try:
        found = json.loads(noted or "{}")
    except ValueError:  # somebody edited it
        return {}
    return {name: times for name, times in found.items() if isinstance(times, dict)} if isinstance(found, dict) else {}


def noted(vault: Manifest, name: str, moment: str, *events: str, version: str = "") -> Json:
    """Return the annotation that says when these happened to a credential; of those that are gone nothing stays.

    `version` is that of its secrets, where they were written with this.
    """
    left = {entry["name"] for entry in credentials_of(vault)} | {name}
    times = {key: value for key, value in times_of(vault).items() if key in left}
    times[name] = {**times.get(name, {}), **dict.fromkeys(events, moment)}
    times[name] |= {"version": version} if version else {}
    return {"annotations": {ANNOTATION_TIMES: json.dumps(times, sort_keys=True)}}


def _referring(fields: Mapping[str, Any], name: str, secret_name: str, secrets: dict[str, str]) -> Json:
    """Replace each secret by a reference; what it was is added to `secrets`."""
    found: Json = {}
    for key, value in fields.items():
        if key in _KEYS:
            place = f"{name}.{_KEYS[key]}"
            secrets[place] = str(value)
            found[key] = {"secretKeyRef": {"name": secret_name, "key": place}}
        else:
            found[key] = _referring(value, name, secret_name, secrets) if isinstance(value, Mapping) else value
    return found


def _laid_over(
    stored: Mapping[str, Any], fields: Mapping[str, Any], name: str, secret_name: str, secrets: dict[str, str]
) -> Json:
    """Lay what was sent over what is stored. A null clears an expiry and leaves all else."""
    kept = {key: value for key, value in stored.items() if key != "expiresAt" or "expires_at" not in fields}
    sent = {key: value for key, value in fields.items() if value is not None}
    return {**kept, **spec_value(_referring(sent, name, secret_name, secrets))}


def _refreshed(
    stored: Mapping[str, Any] | None, fields: Mapping[str, Any], name: str, secret_name: str, secrets: dict[str, str]
) -> Json:
    if stored is None:
        raise RejectedError("auth.refresh: this credential has none; create another credential", field="auth.refresh")
    client = fields.get("token_endpoint_auth")
    if client is not None and client["type"] != stored["tokenEndpointAuth"]["type"]:
        field = "auth.refresh.token_endpoint_auth.type"
        raise RejectedError(f"{field}: cannot change; create another credential", field=field)
    plain = {key: value for key, value in fields.items() if key != "token_endpoint_auth" and value != ""}
    after = _laid_over(stored, plain, name, secret_name, secrets)
    if fields.get("scope") == "":
        after.pop("scope", None)
    if client is not None:
        after["tokenEndpointAuth"] = _laid_over(stored["tokenEndpointAuth"], client, name, secret_name, secrets)
    return after


def _require_own(auth: Mapping[str, Any], secret_name: str) -> None:
    for _, reference in secret_references(auth):
        if reference["name"] != secret_name:
            text = f'auth: this credential is kept in Secret "{reference["name"]}"; change it and the Vault there'
            raise RejectedError(text, reason="SecretNotOurs", field="auth")


def _require_future(expires_at: str | None, now: datetime) -> None:
    if expires_at is not None and parse_rfc3339(expires_at) <= now:
        text = f"auth.expires_at: must be in the future, found {expires_at}"
        raise RejectedError(text, field="auth.expires_at")


def _require_a_place(places: Mapping[str, bool]) -> None:
    if not any(places.values()):
        field = "auth.injection_location"
        raise RejectedError(f"{field}: header or body must be true", field=field)
