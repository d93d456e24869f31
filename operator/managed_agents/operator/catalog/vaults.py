"""What the vaults of a session hold, as its proxy reads it, and what of it cannot be read. Pure."""

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from managed_agents.contracts import names
from managed_agents.contracts.api import conditions
from managed_agents.contracts.api.casing import snake
from managed_agents.contracts.api.vault_grants import problem_of
from managed_agents.contracts.api.vaults import (
    MCP_OAUTH,
    credential_id_for,
    key_of,
    secret_references,
    shown_auth,
    vault_id_of,
)
from managed_agents.kube.resources import DEPLOYMENTS, Manifest
from managed_agents.operator.catalog.grants import FoundSecret, Secrets, grant_fields, has_expired

CREDENTIALS_KEY = "credentials.json"

DOCUMENT_BYTES_MAX = 900_000
"""A Secret holds 1 MiB; what comes after is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultProblem:
    """Why a credential is left out."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultReading:
    """The usable credentials of one Vault, in its order, and what is wrong with the first other one."""

    entries: tuple[tuple[tuple[str, str], Mapping[str, Any]], ...] = ()
    """What each is for, and the entry of the proxy's file."""
    problem: VaultProblem | None = None
    unusable: tuple[Mapping[str, Any], ...] = ()
    """Of each credential for an MCP server that is left out: what the proxy says in its place."""

    def __repr__(self) -> str:
        """Never show a secret."""
        return f"VaultReading(entries={len(self.entries)}, problem={self.problem!r})"


def named_secrets(vault: Manifest) -> Iterator[str]:
    """Yield the names of the Secrets that a Vault's usable credentials name."""
    for _, entry in _active(vault):
        for _, reference in secret_references(entry["auth"]):
            yield reference["name"]


def read_vault(vault: Manifest, secrets: Secrets, now: datetime) -> VaultReading:
    """Put each credential together from its Secret. One that is archived is no credential any more.

    A grant that has expired or could not be renewed is a problem and goes to the proxy all the same: the MCP server has
    the last word on it.
    """
    entries: list[tuple[tuple[str, str], Mapping[str, Any]]] = []
    problems: list[VaultProblem] = []
    unusable: list[Mapping[str, Any]] = []
    for index, entry in _active(vault):
        values: dict[tuple[str, ...], str] = {}
        problem = None
        for path, reference in secret_references(entry["auth"]):
            found = value_of(
                secrets.get(reference["name"]), reference, f"spec.credentials[{index}].auth.{'.'.join(path)}"
            )
            if isinstance(found, VaultProblem):
                problem = problem or found
            else:
                values[path] = found
        problem = problem or _unsendable(entry["auth"], values, index)
        if problem is None:
            made = _entry(vault, entry, values)
            if entry["auth"]["type"] == MCP_OAUTH:
                made = _without_nulls(made | grant_fields(entry, secrets))
                problems += _grant_problems(vault, made, entry["name"], index, now)
            entries.append((key_of(entry["auth"]), made))
        else:
            problems.append(problem)
            unusable += _in_its_place(vault, entry, problem)
    return VaultReading(entries=tuple(entries), problem=next(iter(problems), None), unusable=tuple(unusable))


def credentials_document(
    session: Manifest,
    session_id: str,
    readings: Iterable[VaultReading],
    repositories: Sequence[Mapping[str, Any]] = (),
) -> bytes:
    """Render `credentials.json`: of two credentials for the same thing the first wins."""
    wins: dict[tuple[str, str], Mapping[str, Any]] = {}
    unusable: list[Mapping[str, Any]] = []
    left = DOCUMENT_BYTES_MAX - len(orjson.dumps(list(repositories)))
    for reading in readings:
        unusable += reading.unusable
        for key, entry in reading.entries:
            size = len(orjson.dumps(entry))
            if key not in wins and size <= left:
                wins[key] = entry
                left -= size
    document: dict[str, Any] = {
        "session_id": session_id,
        "generation": int(session["metadata"]["generation"]),
        "credentials": list(wins.values()),
        **({"repositories": list(repositories)} if repositories else {}),
    }
    if unusable:
        document["unusable"] = unusable
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)


def credentials_secret_for(session: Manifest, deployment: Manifest, document: bytes) -> Manifest:
    """Build the Secret that the proxy of a harness mounts. It has the Deployment's name and goes with it."""
    metadata = deployment["metadata"]
    return {
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "labels": {
                names.LABEL_SESSION: session["metadata"]["name"],
                names.LABEL_SESSION_UID: session["metadata"]["uid"],
                names.LABEL_MANAGED_BY: names.MANAGER,
                names.LABEL_PART_OF: names.PART_OF,
            },
            "ownerReferences": [
                {
                    "apiVersion": DEPLOYMENTS.api_version,
                    "kind": DEPLOYMENTS.kind,
                    "name": metadata["name"],
                    "uid": metadata["uid"],
                }
            ],
        },
        "type": "Opaque",
        "data": {CREDENTIALS_KEY: base64.b64encode(document).decode()},
    }


def access_denied_problem(namespace: str) -> VaultProblem:
    """Say that the operator may not use Secrets of the namespace."""
    text = (
        f'spec.credentials: the operator may not read and write Secrets in namespace "{namespace}"; an administrator '
        "applies manifests/tenant there"
    )
    return VaultProblem(reason=conditions.SECRET_ACCESS_DENIED, message=text)


def _active(vault: Manifest) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if vault["spec"].get("archived"):
        return
    for index, entry in enumerate(vault["spec"].get("credentials") or ()):
        if not entry.get("archived"):
            yield index, entry


def value_of(found: FoundSecret, reference: Mapping[str, str], path: str) -> str | VaultProblem:
    """Return what a `secretKeyRef` at this path of a spec means, or why it means nothing."""
    name, key = reference["name"], reference["key"]
    place = f"{path}.secretKeyRef"
    if found == "denied":
        text = f'{place}.name: the operator may not read Secret "{name}"; an administrator applies manifests/tenant'
        return VaultProblem(reason=conditions.SECRET_ACCESS_DENIED, message=text)
    if not isinstance(found, dict):
        text = f'{place}.name: Secret "{name}" not found; create it or change the reference'
        return VaultProblem(reason=conditions.SECRET_NOT_FOUND, message=text)
    encoded = (found.get("data") or {}).get(key)
    if not encoded:
        text = f'{place}.key: Secret "{name}" has no key "{key}", or it is empty'
        return VaultProblem(reason=conditions.SECRET_NOT_FOUND, message=text)
    try:
        return base64.b64decode(encoded).decode().strip()
    except ValueError:
        text = f'{place}.key: the value of "{key}" in Secret "{name}" is not text'
        return VaultProblem(reason=conditions.SECRET_NOT_FOUND, message=text)


def _unsendable(auth: Mapping[str, Any], values: Mapping[tuple[str, ...], str], index: int) -> VaultProblem | None:
    """Say of a bearer token that no header can carry it."""
    for field in ("token", "accessToken"):
        value = values.get((field,))
        if value is not None and not (value and value.isascii() and value.isprintable()):
            reference = auth[field]["secretKeyRef"]
            text = (
                f'spec.credentials[{index}].auth.{field}.secretKeyRef.key: the value of "{reference["key"]}" in Secret '
                f'"{reference["name"]}" is no text that a header can carry'
            )
            return VaultProblem(reason=conditions.SECRET_NOT_FOUND, message=text)
    return None


def _entry(vault: Manifest, entry: Mapping[str, Any], values: Mapping[tuple[str, ...], str]) -> dict[str, Any]:
    """Return the entry of the proxy's file: the `auth` in API form with its secrets, nothing that is null."""
    shown: dict[str, Any] = _without_nulls(shown_auth(entry["auth"]))
    for path, value in values.items():
        node = shown
        for step in path[:-1]:
            node = node[snake(step)]
        node[snake(path[-1])] = value
    return {"id": credential_id_for(vault, entry["name"]), "vault_id": vault_id_of(vault), **shown}


def _grant_problems(
    vault: Manifest, made: Mapping[str, Any], name: str, index: int, now: datetime
) -> Iterator[VaultProblem]:
    """Yield what is wrong with a grant: a session's proxy could not renew this version of it, or it has expired."""
    message = problem_of(vault, name, made["version"])
    if message is not None:
        text = f"spec.credentials[{index}].auth.refresh: {message}"
        yield VaultProblem(reason=conditions.CREDENTIAL_REFRESH_FAILED, message=text)
    if has_expired(made, now):
        text = (
            f"spec.credentials[{index}].auth.expiresAt: the access token ended at {made['expires_at']} and there is no "
            "refresh; store a new one"
        )
        yield VaultProblem(reason=conditions.CREDENTIAL_EXPIRED, message=text)


def _in_its_place(vault: Manifest, entry: Mapping[str, Any], problem: VaultProblem) -> Iterator[Mapping[str, Any]]:
    """Yield what the proxy answers a call that this credential was meant for."""
    url = entry["auth"].get("mcpServerUrl")
    if url is not None:
        yield {
            "id": credential_id_for(vault, entry["name"]),
            "vault_id": vault_id_of(vault),
            "mcp_server_url": url,
            "reason": problem.reason,
        }


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return value
