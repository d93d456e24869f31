"""Repositories of a session that exists: they stay for its life, and their token may change (API reference §4.5)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from managed_agents.contracts.api.session_resources import resource_configs
from managed_agents.contracts.errors import NotFoundError, RejectedError
from managed_agents.eventlog.queries import SessionRecord
from managed_agents.server.services.repository_tokens import (
    REPOSITORY,
    RepositoryTokens,
    Tokens,
    reference_for,
    require_ours,
)
from managed_agents.server.services.session_update import SessionEditor


@dataclass(slots=True, kw_only=True)
class SessionRepositories:
    """Gives repositories new tokens."""

    editor: SessionEditor

    async def renew(self, record: SessionRecord, entry: Mapping[str, Any], token: str) -> Mapping[str, Any]:
        """Store a token in the place of the old one, or as the first; returns the resource.

        Raises: RejectedError, NotFoundError, ForbiddenError, RetryableError.
        """
        if record.session.shown_status == "terminated":
            raise RejectedError(f"session {record.session.id} is terminated; its resources cannot change")
        session = await self.editor.manifest(record)
        name, namespace = session["metadata"]["name"], session["metadata"]["namespace"]
        found = self._spoken(record, session["spec"], entry)
        require_ours(found, name)
        reference = found.get("authorizationToken") or reference_for(found, name)["authorizationToken"]
        key = str(reference["secretKeyRef"]["key"])
        secrets = RepositoryTokens(kube=self.editor.objects.kube)
        await secrets.write(namespace, name, Tokens(by_key={key: token}), owner_uid=session["metadata"]["uid"])
        if found.get("authorizationToken"):
            return entry
        return await self._refer(record, entry, name)

    async def _refer(self, record: SessionRecord, entry: Mapping[str, Any], name: str) -> Mapping[str, Any]:
        """Say in the object where the first token of a repository is."""

        def decide(spec: Mapping[str, Any]) -> dict[str, Any]:
            wanted = self._spoken(record, spec, entry)
            resources = [{**one, **reference_for(one, name)} if one == wanted else one for one in spec["resources"]]
            return {**spec, "resources": resources}

        changed = await self.editor.change(record, decide)
        for resource in changed.config.get("resources") or []:
            if resource["id"] == entry["id"]:
                found: Mapping[str, Any] = resource
                return found
        raise NotFoundError(f"resource {entry['id']} is no longer in session {record.session.id}")

    @staticmethod
    def _spoken(record: SessionRecord, spec: Mapping[str, Any], entry: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what the object says of a repository. Raises: NotFoundError where it says nothing any more."""
        uid, created_at = record.session.uid, record.created_at
        for resource in spec.get("resources") or []:
            is_ours = resource["type"] == REPOSITORY
            if is_ours and resource_configs(uid, [resource], created_at)[0]["id"] == entry["id"]:
                found: Mapping[str, Any] = resource
                return found
        raise NotFoundError(f"resource {entry['id']} is no longer in session {record.session.id}")
