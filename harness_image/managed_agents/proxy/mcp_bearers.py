"""The bearer token that goes with an MCP server: found in the session's credentials, renewed where it has to be."""

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

from managed_agents.contracts.api.mcp_servers import normalised
from managed_agents.contracts.clock import Clock
from managed_agents.proxy.egress_rules import Networking
from managed_agents.proxy.errors import RefusedError
from managed_agents.proxy.mcp_credentials import CredentialFile, McpCredential, Unusable
from managed_agents.proxy.oauth.grants import OauthCredential
from managed_agents.proxy.oauth.renewals import RenewalError, Renewals
from managed_agents.proxy.oauth.server_grants import ServerGrants
from managed_agents.proxy.oauth.token_endpoint import TokenEndpoint
from managed_agents.proxy.watched_file import LOOK_SECONDS, WatchedFile

ARRIVAL_SECONDS = 5.0
"""How long after its lease a session's credentials are waited for: the operator writes them once it knows of the lease,
and the kubelet mounts them a moment later. Only calls to MCP servers wait, and only of sessions that name vaults."""


class BearerSource(Protocol):
    """Knows the bearer tokens of a session's MCP servers."""

    def configure(self, config: Mapping[str, Any], networking: Networking) -> None:
        """Serve this session."""
        ...

    async def bearer_for(self, server_url: str) -> str | None:
        """Return the token to send, null where the session has none. Raises: RefusedError."""
        ...

    async def after_refusal(self, server_url: str, refused: str | None, *, is_scope: bool) -> str:
        """Return another token than the one that the server refused. Raises: RenewalError."""
        ...


class Bearers:
    """Reads the mounted file at each question, so that a rotation reaches a running session."""

    def __init__(
        self, file: WatchedFile[CredentialFile], endpoint: TokenEndpoint, server: ServerGrants, clock: Clock
    ) -> None:
        self._file = file
        self._clock = clock
        self.renewals = Renewals(endpoint, server, self._newest, clock)
        self._session = ""
        self._has_vaults = False
        self._awaited_until = 0.0

    def configure(self, config: Mapping[str, Any], networking: Networking) -> None:
        """Serve this session."""
        session = str(config.get("id"))
        if session != self._session:
            self._awaited_until = self._clock.monotonic() + ARRIVAL_SECONDS
        self._session, self._has_vaults = session, bool(config.get("vault_ids"))
        self.renewals.configure(session, networking)

    async def bearer_for(self, server_url: str) -> str | None:
        """Return the token of the first credential whose URL equals the server's.

        Raises: RefusedError: 503 on a broken file, 401 where the only credential is one that cannot be used.
        """
        found = (await self._arrived()).for_url(normalised(server_url))
        if isinstance(found, Unusable):
            text = f"credential {found.id} cannot be used ({found.reason}); the condition of its Vault says why"
            raise RefusedError(401, "mcp_authentication", text)
        if found is None or found.oauth is None:
            return None if found is None else found.bearer
        return await self.renewals.before_use(found.oauth)

    async def after_refusal(self, server_url: str, refused: str | None, *, is_scope: bool) -> str:
        """Return another token. Raises: RenewalError, RefusedError as `bearer_for`."""
        found = self._read().for_url(normalised(server_url))
        if not isinstance(found, McpCredential):
            late = self._has_vaults and self._read().session_id != self._session
            hint = "; those of its vaults have not come, their Vaults' conditions say why" if late else ""
            raise RenewalError(f"the session has no credential that it accepts{hint}")
        if found.oauth is not None and refused is not None:
            return await self.renewals.after_refusal(found.oauth, refused, is_scope=is_scope)
        if found.bearer != refused:
            return found.bearer
        raise RenewalError(f"it does not accept credential {found.id}")

    def oauth_of(self, credential_id: str) -> McpCredential | None:
        """Return an OAuth credential of this session as the file has it now, null where it has none of this id."""
        try:
            found = self._read()
        except RefusedError:
            return None
        is_ours = found.session_id == self._session
        return next((one for one in found.credentials if is_ours and one.oauth and one.id == credential_id), None)

    async def close(self) -> None:
        """End what runs beside the calls."""
        await self.renewals.close()

    async def _arrived(self) -> CredentialFile:
        while True:
            found = self._read()
            is_awaited = self._has_vaults and found.session_id != self._session
            if not is_awaited or self._clock.monotonic() >= self._awaited_until:
                return found
            await asyncio.sleep(LOOK_SECONDS)

    def _newest(self, credential_id: str) -> OauthCredential | None:
        try:
            credentials = self._read().credentials
        except RefusedError:
            return None
        return next((one.oauth for one in credentials if one.id == credential_id), None)

    def _read(self) -> CredentialFile:
        try:
            return self._file.read()
        except FileNotFoundError:
            return CredentialFile()
        except (OSError, ValueError) as problem:
            # Our own errors name the field only; those of JSON and of the system hold no content.
            raise RefusedError(503, "credentials_unreadable", f"the session's credentials: {problem}") from None
