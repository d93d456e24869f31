"""Tokens of repositories that come by the API: each in a Secret of its session, written, never read (API §4.5)."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from managed_agents.contracts import names
from managed_agents.contracts.errors import RejectedError
from managed_agents.kube.client import Kube
from managed_agents.kube.resources import SESSIONS, Manifest
from managed_agents.server.services.collection import API_MANAGER
from managed_agents.server.services.written_secrets import WrittenSecrets, encoded

SECRET_PREFIX = f"{names.PREFIX}repository."
"""Begins the name of a Secret that holds a session's tokens; the dot keeps it apart from any object's name."""

REPOSITORY = "github_repository"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Tokens by the key of their Secret."""

    by_key: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __bool__(self) -> bool:
        """Tell whether there is any."""
        return bool(self.by_key)


def secret_name_for(session_name: str) -> str:
    """Name the Secret that holds the tokens of a session's repositories."""
    return SECRET_PREFIX + session_name


def key_for(entry: Mapping[str, Any]) -> str:
    """Return the key of a repository's token: the same for as long as the entry says the same."""
    return "token-" + names.short_hash(f"{entry['url']} {entry.get('mountPath') or ''}", 12)


def tokens_of(resources: Sequence[Any], entries: Sequence[Mapping[str, Any]]) -> Tokens:
    """Return the tokens of a body's resources, whose entries of the spec are in the same order."""
    given = zip(resources, entries, strict=True)
    found = {key_for(entry): resource.authorization_token for resource, entry in given if _has_token(resource)}
    return Tokens(by_key=found)


def with_references(resources: Sequence[Mapping[str, Any]], tokens: Tokens, session_name: str) -> list[dict[str, Any]]:
    """Return `spec.resources` with a reference for each token."""
    return [
        {**entry, **reference_for(entry, session_name)}
        if entry["type"] == REPOSITORY and key_for(entry) in tokens.by_key
        else dict(entry)
        for entry in resources
    ]


def reference_for(entry: Mapping[str, Any], session_name: str) -> dict[str, Any]:
    """Return the field of an entry that says where its token is."""
    return {"authorizationToken": {"secretKeyRef": {"name": secret_name_for(session_name), "key": key_for(entry)}}}


def are_kept_by(session_name: str, resources: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether any token of a session's resources is in its own Secret."""
    named = [(entry.get("authorizationToken") or {}).get("secretKeyRef") or {} for entry in resources]
    return any(reference.get("name") == secret_name_for(session_name) for reference in named)


def require_ours(entry: Mapping[str, Any], session_name: str) -> None:
    """Refuse to store a token where another one is referred to. Raises: RejectedError."""
    reference = (entry.get("authorizationToken") or {}).get("secretKeyRef")
    if reference is not None and reference["name"] != secret_name_for(session_name):
        text = f'authorization_token: it is kept in Secret "{reference["name"]}"; change it there'
        raise RejectedError(text, reason="SecretNotOurs", field="authorization_token")


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryTokens:
    """Writes the Secret of a session, which goes with the session's object."""

    kube: Kube

    async def write(self, namespace: str, session_name: str, tokens: Tokens, owner_uid: str | None = None) -> None:
        """Store tokens by their keys; others stay. Raises: ForbiddenError, RetryableError.

        A Secret made before its session has no owner until `adopt`.
        """
        if not tokens:
            return
        data = {key: encoded(token) for key, token in tokens.by_key.items()}
        secret = _secret_for(session_name, data, owner_uid)
        await WrittenSecrets(kube=self.kube).store(namespace, secret, is_new=owner_uid is None)

    async def adopt(self, namespace: str, session_name: str, uid: str) -> None:
        """Let the Secret go with its session. Raises: ForbiddenError, RetryableError."""
        await self._merge(namespace, session_name, {"metadata": {"ownerReferences": [_owner(session_name, uid)]}})

    async def purge(self, namespace: str, session_name: str) -> None:
        """Remove the tokens of a session that is no more, or never was, and in the cluster's time their Secret.

        The server may not delete a Secret. One whose owner does not exist is deleted by garbage collection.
        """
        nobody = _owner(session_name, str(uuid.uuid4()))
        await self._merge(namespace, session_name, {"data": None, "metadata": {"ownerReferences": [nobody]}})

    async def _merge(self, namespace: str, session_name: str, change: Manifest) -> None:
        await WrittenSecrets(kube=self.kube).merge(namespace, secret_name_for(session_name), change)


def _has_token(resource: Any) -> bool:
    return getattr(resource, "authorization_token", None) is not None


def _owner(session_name: str, uid: str) -> dict[str, str]:
    return {"apiVersion": SESSIONS.api_version, "kind": SESSIONS.kind, "name": session_name, "uid": uid}


def _secret_for(session_name: str, data: Mapping[str, str], owner_uid: str | None) -> Manifest:
    metadata: dict[str, Any] = {
        "name": secret_name_for(session_name),
        "labels": {
            names.LABEL_SESSION: session_name,
            names.LABEL_MANAGED_BY: API_MANAGER,
            names.LABEL_PART_OF: names.PART_OF,
        },
    }
    if owner_uid is not None:
        metadata["ownerReferences"] = [_owner(session_name, owner_uid)]
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": dict(data)}
