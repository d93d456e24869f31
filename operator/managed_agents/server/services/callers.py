"""Who calls the public API: an API key, or whoever Kubernetes says a bearer token is; and what each may do."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from managed_agents.contracts.clock import Clock
from managed_agents.contracts.errors import RetryableError
from managed_agents.server.services.api_keys import PREFIX, ApiKey, ApiKeys
from managed_agents.server.services.authenticator import Access, Authenticator, Identity
from managed_agents.server.services.errors import UnauthenticatedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """One proven caller."""

    credential: ApiKey | Identity

    @property
    def id(self) -> str:
        """Return what the log records: a key's id, or the user name that Kubernetes gives."""
        return self.credential.id if isinstance(self.credential, ApiKey) else self.credential.username

    @property
    def namespace(self) -> str | None:
        """Return the namespace that the credential belongs to: a key's, or a ServiceAccount's own."""
        return self.credential.namespace

    @property
    def expires(self) -> float | None:
        """Return when the credential ends by itself, in seconds since 1970; null for never."""
        return self.credential.expires or None

    @property
    def key_namespace(self) -> str | None:
        """Return the only namespace that the credential can ever work in: a key's."""
        return self.credential.namespace if isinstance(self.credential, ApiKey) else None

    @property
    def tenant(self) -> str:
        """Return under which name the caller's requests are counted."""
        return self.namespace or f"user {self.id}"

    def sender(self) -> dict[str, Any]:
        """Return how the log names the sender of an event."""
        shown = {"via": "api", "id": self.id}
        if isinstance(self.credential, ApiKey):
            return {**shown, "api_key": self.credential.name, "namespace": self.credential.namespace}
        return shown


class Callers:
    """Tells callers apart and answers what they may do."""

    def __init__(
        self, keys: ApiKeys, keys_known: Callable[[], bool], authenticator: Authenticator, clock: Clock
    ) -> None:
        self._keys = keys
        self._keys_known = keys_known
        self._authenticator = authenticator
        self._clock = clock

    async def identify(self, credential: str, peer: str = "") -> Caller:
        """Return whose credential this is. `peer` is the address that it comes from.

        Raises: UnauthenticatedError; RateLimitedError; RetryableError while neither the keys nor the kube-apiserver can
        tell.
        """
        if not credential.isascii():
            raise UnauthenticatedError("the credential is not valid here: keys and tokens are ASCII")
        key = self._keys.find(credential) if credential else None
        if key is not None:
            if key.is_expired(self._clock.now().timestamp()):
                raise UnauthenticatedError("this API key has expired; make a new one with scripts/api-key")
            return Caller(credential=key)
        if credential.startswith(PREFIX):
            if not self._keys_known():
                raise RetryableError("the server has not read the API keys yet; try again")
            raise UnauthenticatedError("this API key is unknown: it was revoked, or never made in this cluster")
        return Caller(credential=await self._authenticator.public(credential, peer))

    def key_opens(self, credential: str, access: Access) -> bool:
        """Tell whether a credential is an API key, now, that may do this."""
        key = self._keys.find(credential)
        return key is not None and not key.is_expired(self._clock.now().timestamp()) and key.permits(access)

    async def may(self, caller: Caller, access: Access) -> bool:
        """Tell whether a caller may do this. Raises: RetryableError."""
        if isinstance(caller.credential, ApiKey):
            return caller.credential.permits(access)
        return await self._authenticator.may(caller.credential, access)
