"""A Vault and its credentials in API form, without any secret; both doors show the same (API reference §4.8). Pure."""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from managed_agents.contracts import ids, names
from managed_agents.contracts.api.casing import to_snake

MCP_OAUTH = "mcp_oauth"
STATIC_BEARER = "static_bearer"
ENVIRONMENT_VARIABLE = "environment_variable"

CREDENTIALS_MAX = 20
"""Of one vault, archived ones counted (API reference §14)."""

VAULTS_MAX = 50
"""Of one session."""

SECRET_PREFIX = f"{names.PREFIX}vault."
"""Begins the name of each Secret that holds what came by the API; the dot keeps it apart from any object's name."""

LABEL_VAULT = f"{names.GROUP}/vault"
"""On such a Secret, with the Vault's name: admission lets the server write no other one."""

_SECRETS = frozenset({"token", "access_token", "refresh_token", "client_secret", "secret_value"})
_EVERYWHERE = {"header": True, "body": True}


def vault_id_of(vault: Mapping[str, Any]) -> str:
    """Return the API's id of a Vault."""
    annotations = vault["metadata"].get("annotations") or {}
    return str(annotations.get(names.ANNOTATION_ID) or ids.id_for(ids.VAULT, vault["metadata"]["uid"]))


def credential_id_for(vault: Mapping[str, Any], name: str) -> str:
    """Derive a credential's id from its Vault's UID and its name there."""
    digest = hashlib.sha256(f"{vault['metadata']['uid']}/{name}".encode()).hexdigest()
    return f"{ids.CREDENTIAL}_{digest[:24]}"


def display_name_of(vault: Mapping[str, Any]) -> str:
    """Return the API's name of a Vault."""
    return str(vault["spec"].get("displayName") or vault["metadata"]["name"])


def shown_auth(auth: Mapping[str, Any]) -> dict[str, Any]:
    """Render an `auth` of a Vault's spec with all defaults said, and without its secrets and where they are."""
    shown = _without_secrets(to_snake(dict(auth)))
    if auth["type"] == MCP_OAUTH:
        refresh = shown.get("refresh")
        if refresh is not None:
            refresh = {**refresh, "resource": refresh.get("resource"), "scope": refresh.get("scope")}
        return {**shown, "expires_at": shown.get("expires_at"), "refresh": refresh}
    if auth["type"] == ENVIRONMENT_VARIABLE:
        return {**shown, "injection_location": injection_location_of(shown.get("injection_location"))}
    return shown


def injection_location_of(location: Mapping[str, Any] | None) -> dict[str, bool]:
    """Say where a value may stand: everywhere where nothing is said, else where it says true."""
    if location is None:
        return dict(_EVERYWHERE)
    return {place: bool(location.get(place)) for place in _EVERYWHERE}


def key_of(auth: Mapping[str, Any]) -> tuple[str, str]:
    """Return what is one active credential's alone within a Vault: the field, and its value in the spec."""
    field = "secretName" if auth["type"] == ENVIRONMENT_VARIABLE else "mcpServerUrl"
    return field, str(auth[field])


def secret_references(auth: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Mapping[str, str]]]:
    """Yield the path and the `secretKeyRef` of each secret of an `auth`."""
    for key, value in auth.items():
        if isinstance(value, Mapping) and "secretKeyRef" in value:
            yield (key,), value["secretKeyRef"]
        elif isinstance(value, Mapping):
            for path, reference in secret_references(value):
                yield (key, *path), reference


def _without_secrets(value: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_secrets(item) if isinstance(item, Mapping) else item
        for key, item in value.items()
        if key not in _SECRETS
    }
