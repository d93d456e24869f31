"""Vaults of the public API (API reference §3.5, §4.8)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from managed_agents.contracts.api.vaults import display_name_of, vault_id_of
from managed_agents.contracts.clock import Clock, rfc3339
from managed_agents.kube.resources import Manifest
from managed_agents.server.bodies.vaults import VaultCreate, VaultUpdate
from managed_agents.server.services.agents import (
    ANNOTATION_ARCHIVED_AT,
    ORIGIN,
    archived_at,
    created_key,
    updated_at,
)
from managed_agents.server.services.objects import Objects
from managed_agents.server.services.paging import Window, page_of
from managed_agents.server.services.patches import merge_patch
from managed_agents.server.services.query import parse_flag
from managed_agents.server.services.vault_rules import (
    credentials_of,
    is_held_by,
    metadata_after,
    require_active,
    secret_name_for,
    stripped,
    times_of,
)
from managed_agents.server.services.vault_secrets import VaultSecrets

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Vaults:
    """The calls on Vaults. Manifests come from `Objects`, whose callers have checked who asks."""

    objects: Objects
    clock: Clock

    async def create(self, namespace: str, body: VaultCreate) -> Json:
        """Create a Vault without credentials. Raises: RejectedError, ForbiddenError, RetryableError."""
        spec: Json = {"displayName": body.display_name}
        if body.metadata:
            spec["metadata"] = dict(body.metadata)
        made = await self.objects.vaults.create(namespace, spec, title=body.display_name, annotations=ORIGIN)
        return view(made)

    async def update(self, vault: Manifest, body: VaultUpdate) -> Json:
        """Change a Vault's name and metadata. Raises: RejectedError, ApiConflictError, RetryableError."""

        def decide(newest: Manifest) -> Manifest | None:
            require_active(newest)
            patch: Json = {}
            if body.display_name not in (None, display_name_of(newest)):
                patch["displayName"] = body.display_name
            if body.metadata is not None:
                stored = dict(newest["spec"].get("metadata") or {})
                after = metadata_after(stored, body.metadata)
                patch |= {"metadata": changed} if (changed := merge_patch(stored, after)) else {}
            return {"spec": patch} if patch else None

        return view(await self.objects.vaults.change(vault, decide))

    async def archive(self, vault: Manifest) -> Json:
        """Archive a Vault with its credentials, for ever: records stay, the secrets that we hold go. Again is no error.

        Raises: RejectedError, ForbiddenError, RetryableError; what is archived and still has secrets is tried again.
        """
        stamp = {"annotations": {ANNOTATION_ARCHIVED_AT: rfc3339(self.clock.now())}}

        def decide(newest: Manifest) -> Manifest | None:
            if newest["spec"].get("archived"):
                return None
            records = [{**entry, "archived": True, "auth": stripped(entry["auth"])} for entry in credentials_of(newest)]
            spec: Json = {"archived": True} | ({"credentials": records} if records else {})
            return {"metadata": stamp, "spec": spec}

        async with self.objects.locks.holding(lock_of(vault)):
            held = holds_secrets(vault)
            archived = await self.objects.vaults.change(vault, decide)
            if held or any("created" in times for times in times_of(archived).values()):  # or it failed half way before
                await VaultSecrets(kube=self.objects.kube).purge_all(archived)
        return view(archived)

    async def delete(self, vault: Manifest) -> Json:
        """Delete a Vault; Kubernetes removes the Secret that it owns. Raises: ForbiddenError, RetryableError."""
        await self.objects.vaults.delete(vault)
        return {"id": vault_id_of(vault), "type": "vault_deleted"}

    def page(
        self, namespace: str, query: Mapping[str, str], window: Window, secret: bytes
    ) -> tuple[list[Json], str | None]:
        """Return a page of a namespace's Vaults, newest first. Raises: RejectedError, RetryableError."""
        archived = parse_flag("include_archived", query.get("include_archived"))
        known = self.objects.vaults.in_namespace(namespace)
        found = [item for item in known if archived or not item["spec"].get("archived")]
        shown, cursor = page_of(found, created_key, window, secret)
        return [view(item) for item in shown], cursor


def view(vault: Manifest) -> Json:
    """Render a Vault with every field of the API."""
    return {
        "id": vault_id_of(vault),
        "type": "vault",
        "display_name": display_name_of(vault),
        "metadata": dict(vault["spec"].get("metadata") or {}),
        "created_at": vault["metadata"]["creationTimestamp"],
        "updated_at": updated_at(vault),
        "archived_at": archived_at(vault),
    }


def holds_secrets(vault: Manifest) -> bool:
    """Tell whether a credential of a Vault has its secrets from the API."""
    held = secret_name_for(vault)
    return any(is_held_by(entry["auth"], held) for entry in credentials_of(vault))


def lock_of(vault: Manifest) -> str:
    """Name the lock under which the credentials of a Vault change."""
    return f"vaults/{vault['metadata']['uid']}"
