"""What a session's proxy has to say of the OAuth grants that its vaults hold: a renewed one, or one that is refused.

A grant is written by compare-and-swap (design §8) into the Secret that the server made, and into no other. The Vault is
told afterwards: that shows the new expiry, and lets the operator bring the grant to the other sessions at once.
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from managed_agents.contracts.api.vault_grants import grant_keys, with_problem
from managed_agents.contracts.api.vaults import MCP_OAUTH, credential_id_for
from managed_agents.contracts.clock import Clock, rfc3339
from managed_agents.contracts.errors import ConflictError, ManagedAgentsError, NotFoundError, RetryableError
from managed_agents.kube.resources import Manifest
from managed_agents.server.bodies.grants import GrantProblem, GrantRenewed
from managed_agents.server.services.errors import ForbiddenError
from managed_agents.server.services.objects import Objects
from managed_agents.server.services.refresh_turns import RefreshTurns
from managed_agents.server.services.vault_rules import (
    credentials_of,
    entry_of,
    is_held_by,
    noted,
    secret_name_for,
    with_entry,
)
from managed_agents.server.services.vault_secrets import VaultSecrets

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A credential of the type `mcp_oauth` that a session may use."""

    vault: Manifest
    credential_id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultGrants:
    """The proxies' calls. Callers have checked whose session it is; `config` is that session's."""

    objects: Objects
    turns: RefreshTurns
    clock: Clock
    version: Callable[[], str] = lambda: secrets.token_hex(8)

    def take_turn(self, config: Mapping[str, Any], credential_id: str, version: str) -> None:
        """Let a session renew a grant. Raises: NotFoundError; ConflictError where another one does, or has."""
        grant = self._of(config, credential_id)
        if not self.turns.take(grant.credential_id, version, str(config["id"])):
            raise ConflictError(f"{credential_id}: another session renews this grant, or has; read it anew")

    async def store(self, config: Mapping[str, Any], credential_id: str, body: GrantRenewed) -> str:
        """Store a renewed grant in the place of the one of this version; return its own version.

        Raises: NotFoundError, ForbiddenError for a Secret that is not ours; ConflictError where it has moved on.
        """
        grant = self._of(config, credential_id)
        entry = entry_of(grant.vault, credential_id)
        if not is_held_by(entry["auth"], secret_name_for(grant.vault)):
            raise ForbiddenError(f"{credential_id} is kept in a Secret that the API did not write, and stays as it is")
        fresh = self.version()
        version_key, expiry_key = grant_keys(grant.name)
        written = {
            f"{grant.name}.access-token": body.access_token.get_secret_value(),
            expiry_key: body.expires_at or "",
            version_key: fresh,
        }
        if body.refresh_token is not None:
            written[f"{grant.name}.refresh-token"] = body.refresh_token.get_secret_value()
        session_id = str(config["id"])
        self.turns.take(credential_id, body.version, session_id)  # also while a write that failed is tried again
        try:
            await VaultSecrets(kube=self.objects.kube).swap(grant.vault, (version_key, body.version), written)
        except RetryableError:
            raise
        except ManagedAgentsError:
            self.turns.end(credential_id, session_id)
            raise
        self.turns.renewed(credential_id, body.version)
        self.turns.end(credential_id, session_id)
        await self._tell(grant, body.expires_at, fresh)
        return fresh

    async def report(self, config: Mapping[str, Any], credential_id: str, body: GrantProblem) -> None:
        """Note on the Vault why a grant cannot be renewed, or that it can. Raises: NotFoundError, RetryableError."""
        grant = self._of(config, credential_id)
        self.turns.end(credential_id, str(config["id"]))
        problem = None
        if body.message is not None:
            moment = rfc3339(self.clock.now())
            problem = {"version": body.version, "message": body.message, "kind": body.kind, "at": moment}

        def decide(newest: Manifest) -> Manifest | None:
            return _changed(newest, with_problem(newest, grant.name, problem))

        await self.objects.vaults.change(grant.vault, decide)

    def _of(self, config: Mapping[str, Any], credential_id: str) -> Grant:
        """Return a usable grant of the session's vaults. Raises: NotFoundError."""
        for vault_id in config.get("vault_ids") or ():
            vault = self.objects.vaults.find(vault_id)
            if vault is None or vault["metadata"]["namespace"] != config["namespace"] or vault["spec"].get("archived"):
                continue
            for entry in credentials_of(vault):
                is_it = credential_id_for(vault, entry["name"]) == credential_id
                if is_it and entry["auth"]["type"] == MCP_OAUTH and not entry.get("archived"):
                    return Grant(vault=vault, credential_id=credential_id, name=entry["name"])
        raise NotFoundError(f"credential {credential_id} is no usable OAuth credential of the session's vaults")

    async def _tell(self, grant: Grant, expires_at: str | None, version: str) -> None:
        """Show the new expiry; the grant is stored already, so whatever hinders this is no failure of the call."""
        moment = rfc3339(self.clock.now())

        def decide(newest: Manifest) -> Manifest:
            entry = entry_of(newest, grant.credential_id)
            auth = {key: value for key, value in entry["auth"].items() if key != "expiresAt"}
            auth |= {"expiresAt": expires_at} if expires_at else {}
            patch = noted(newest, grant.name, moment, "refreshed", version=version)
            patch["annotations"] |= with_problem(newest, grant.name, None)
            return {"metadata": patch, "spec": {"credentials": with_entry(newest, {**entry, "auth": auth})}}

        try:
            await self.objects.vaults.change(grant.vault, decide)
        except ManagedAgentsError as problem:
            _log.warning("vault_not_told", credential=grant.credential_id, problem=type(problem).__name__)


def _changed(vault: Manifest, annotations: Mapping[str, str | None]) -> Manifest | None:
    known = vault["metadata"].get("annotations") or {}
    if all(known.get(key) == value for key, value in annotations.items()):
        return None
    return {"metadata": {"annotations": dict(annotations)}}
