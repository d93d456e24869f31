"""Credentials of Vaults: what they are for stands in the Vault, their secrets go into a Secret and are never read."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from managed_agents.contracts.api.vault_grants import grant_keys, with_problem
from managed_agents.contracts.api.vaults import credential_id_for, shown_auth, vault_id_of
from managed_agents.contracts.clock import Clock, rfc3339
from managed_agents.contracts.errors import ManagedAgentsError, RetryableError
from managed_agents.kube.resources import Manifest
from managed_agents.server.bodies.vaults import CredentialCreate, CredentialUpdate
from managed_agents.server.services.agents import updated_at
from managed_agents.server.services.collection import API_MANAGER, name_for
from managed_agents.server.services.credential_probes import CredentialProbes
from managed_agents.server.services.credential_validation import validation_of
from managed_agents.server.services.objects import Objects
from managed_agents.server.services.ownership import require_unowned
from managed_agents.server.services.paging import Window, page_of
from managed_agents.server.services.query import parse_flag
from managed_agents.server.services.vault_rules import (
    SECRET_KEYS,
    Sealed,
    credentials_of,
    entry_of,
    granted,
    is_held_by,
    noted,
    require_active,
    require_room,
    resealed,
    sealed,
    secret_name_for,
    stripped,
    times_of,
    updated_entry,
    with_entry,
)
from managed_agents.server.services.vault_secrets import VaultSecrets
from managed_agents.server.services.vaults import lock_of

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultCredentials:
    """The calls on credentials; changes of one Vault wait for each other."""

    objects: Objects
    clock: Clock
    suffix: Callable[[], str] = lambda: secrets.token_hex(4)

    async def create(self, vault: Manifest, body: CredentialCreate) -> Json:
        """Add a credential: first its secrets, then what they are for.

        Raises: RejectedError, ApiConflictError for what another one is for, ForbiddenError, RetryableError.
        """
        name = name_for(body.display_name or body.auth.type, "credential", self.suffix())
        made = sealed(body.auth, name, secret_name_for(vault), self.clock.now())
        entry: Json = {"name": name, "auth": dict(made.auth)}
        entry |= {"displayName": body.display_name} if body.display_name else {}
        entry |= {"metadata": dict(body.metadata)} if body.metadata else {}

        version = self.suffix()

        def decide(newest: Manifest) -> Manifest:
            require_active(newest)
            require_room(newest, made.auth)
            return self._patch(newest, with_entry(newest, entry), name, "created", "updated", version=version)

        async with self.objects.locks.holding(lock_of(vault)):
            newest = await self.objects.vaults.live(vault)
            require_unowned(newest, decide(newest), manager=API_MANAGER)
            await self._secrets.write(newest, granted(name, made, version))
            try:
                changed = await self.objects.vaults.change(newest, decide)
            except RetryableError:  # it may have been stored all the same, and would lack its secrets
                raise
            except ManagedAgentsError:
                await self._secrets.purge(newest, _keys_of(name))
                raise
        return view(changed, entry)

    def retrieve(self, vault: Manifest, credential_id: str) -> Json:
        """Return a credential without its secrets. Raises: NotFoundError."""
        return view(vault, entry_of(vault, credential_id))

    async def validate(self, vault: Manifest, credential_id: str, probes: CredentialProbes) -> Json:
        """Say whether an OAuth credential works. Raises: NotFoundError, RejectedError.

        A living session that has it tries it; where none lives, or none answers, the last that was found counts.
        """
        vault = await self.objects.vaults.live(vault)  # an update of a moment ago says which version is meant
        known = validation_of(vault, credential_id, self.clock.now())
        entry = entry_of(vault, credential_id)
        is_ours = is_held_by(entry["auth"], secret_name_for(vault))
        version = times_of(vault).get(entry["name"], {}).get("version", "") if is_ours else ""
        found = await probes.probe(vault["metadata"]["namespace"], known["vault_id"], credential_id, version)
        return known if found is None else {**known, **found, "validated_at": rfc3339(self.clock.now())}

    async def update(self, vault: Manifest, credential_id: str, body: CredentialUpdate) -> Json:
        """Change a credential; a new secret takes the old one's place. Raises: RejectedError, NotFoundError."""
        held, moment = secret_name_for(vault), rfc3339(self.clock.now())

        def decide(newest: Manifest) -> Manifest | None:
            entry = entry_of(newest, credential_id)
            require_active(newest, entry)
            made = None if body.auth is None else resealed(entry, body.auth, held, self.clock.now())
            after = updated_entry(entry, body, entry["auth"] if made is None else made.auth)
            if after == entry and not (made and made.secrets):
                return None
            patch = noted(newest, entry["name"], moment, "updated")
            if body.auth is not None:
                patch["annotations"] |= with_problem(newest, entry["name"], None)
            if after == entry:
                return {"metadata": patch}
            return {"metadata": patch, "spec": {"credentials": with_entry(newest, after)}}

        async with self.objects.locks.holding(lock_of(vault)):
            changed = await self.objects.vaults.change(vault, decide)
            entry = entry_of(changed, credential_id)
            if body.auth is not None:
                made = resealed(entry, body.auth, held, self.clock.now())
                changed = await self._rewritten(changed, entry["name"], made)
        return view(changed, entry)

    async def archive(self, vault: Manifest, credential_id: str) -> Json:
        """Archive a credential, for ever: its record stays, its secrets go. Again is no error.

        Raises: NotFoundError, RejectedError, RetryableError.
        """

        def decide(newest: Manifest) -> Manifest | None:
            entry = entry_of(newest, credential_id)
            if entry.get("archived"):
                return None
            after = {**entry, "archived": True, "auth": stripped(entry["auth"])}
            return self._patch(newest, with_entry(newest, after), entry["name"], "updated", "archived")

        async with self.objects.locks.holding(lock_of(vault)):
            newest = await self.objects.vaults.live(vault)
            before = entry_of(newest, credential_id)
            changed = await self.objects.vaults.change(newest, decide)
            if is_held_by(before["auth"], secret_name_for(newest)) or "created" in times_of(newest).get(
                before["name"], {}
            ):
                await self._secrets.purge(newest, _keys_of(before["name"]))
        return view(changed, entry_of(changed, credential_id))

    async def delete(self, vault: Manifest, credential_id: str) -> Json:
        """Delete a credential with its secrets. Raises: NotFoundError, RejectedError, RetryableError."""
        async with self.objects.locks.holding(lock_of(vault)):
            newest = await self.objects.vaults.live(vault)
            entry = entry_of(newest, credential_id)

            def decide(now: Manifest) -> Manifest:
                left = [item for item in credentials_of(now) if item["name"] != entry["name"]]
                return {"spec": {"credentials": left or None}}

            require_unowned(newest, decide(newest), manager=API_MANAGER)
            if is_held_by(entry["auth"], secret_name_for(newest)):  # before the record: a failure can be tried again
                await self._secrets.purge(newest, _keys_of(entry["name"]))
            await self.objects.vaults.change(newest, decide)
        return {"id": credential_id, "type": "vault_credential_deleted"}

    def page(
        self, vault: Manifest, query: Mapping[str, str], window: Window, secret: bytes
    ) -> tuple[list[Json], str | None]:
        """Return a page of a Vault's credentials, newest first. Raises: RejectedError."""
        archived = parse_flag("include_archived", query.get("include_archived"))
        shown = [view(vault, entry) for entry in credentials_of(vault)]
        found = [item for item in shown if archived or item["archived_at"] is None]
        return page_of(found, lambda item: f"{item['created_at']}/{item['id']}", window, secret)

    async def _rewritten(self, vault: Manifest, name: str, made: Sealed) -> Manifest:
        """Write secrets in the place of others, then tell the Vault: so the operator brings them at once."""
        version = self.suffix()
        await self._secrets.write(vault, granted(name, made, version))
        return await self.objects.vaults.change(vault, lambda now: {"metadata": noted(now, name, "", version=version)})

    @property
    def _secrets(self) -> VaultSecrets:
        return VaultSecrets(kube=self.objects.kube)

    def _patch(self, newest: Manifest, credentials: list[Json], name: str, *events: str, version: str = "") -> Manifest:
        patch = noted(newest, name, rfc3339(self.clock.now()), *events, version=version)
        return {"metadata": patch, "spec": {"credentials": credentials}}


def view(vault: Manifest, entry: Mapping[str, Any]) -> Json:
    """Render a credential with every field of the API. Of one made by YAML the Vault's times are all that is known."""
    times = times_of(vault).get(entry["name"], {})
    is_archived = entry.get("archived") or vault["spec"].get("archived")
    return {
        "id": credential_id_for(vault, entry["name"]),
        "type": "vault_credential",
        "vault_id": vault_id_of(vault),
        "display_name": entry.get("displayName"),
        "auth": shown_auth(entry["auth"]),
        "metadata": dict(entry.get("metadata") or {}),
        "created_at": times.get("created") or vault["metadata"]["creationTimestamp"],
        "updated_at": times.get("updated") or updated_at(vault),
        "archived_at": (times.get("archived") or updated_at(vault)) if is_archived else None,
    }


def _keys_of(name: str) -> list[str]:
    return [*(f"{name}.{key}" for key in SECRET_KEYS), *grant_keys(name)]
