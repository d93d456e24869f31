"""The credentials of a session for each of its sandboxes: what the sandbox is told, and what counts on its way out."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import structlog

from managed_agents.contracts.egress import EgressRules
from managed_agents.proxy.bindings import Binding
from managed_agents.proxy.egress_refusal import EgressRefusedError
from managed_agents.proxy.egress_rules import networking_from
from managed_agents.proxy.injection.credentials import EnvironmentCredential, EnvironmentCredentials
from managed_agents.proxy.injection.grants import HostGrants, grants_for, variables_for
from managed_agents.proxy.injection.reach import Reach, Unreachable
from managed_agents.proxy.watched_file import WatchedFile, comes

if TYPE_CHECKING:
    from managed_agents.proxy.injection.authority import Authority

FILE_SECONDS_MAX = 5.0
"""A session's file comes within a second of its harness; a sandbox that is bound before would lack its variables."""

SANDBOXES_MAX = 4
"""Sandboxes whose authority is kept; a session has one at a time."""

_log = structlog.get_logger(listener="egress")


class SandboxCredentials:
    """What one sandbox may use of its session's credentials, read anew at each question."""

    def __init__(self, file: WatchedFile[EnvironmentCredentials], binding: Binding, reach: Reach) -> None:
        self._file = file
        self._reach = reach
        self._session = binding.session
        self._secret = binding.secret

    @cached_property
    def authority(self) -> "Authority":
        """The sandbox's certificate authority."""
        from managed_agents.proxy.injection.authority import Authority

        return Authority(self._secret)

    def grants_at(self, host: str) -> HostGrants:
        """Return what counts for a host now. Raises: EgressRefusedError."""
        return grants_for(self._secret, host, self._credentials() or ())

    def refused(self, host: str) -> None:
        """Note that a tool may not reach a host. Raises: EgressRefusedError."""
        self._reach.refused(self._credentials() or (), host)

    def unreachable(self) -> list[Unreachable]:
        """Return the credentials whose hosts cannot be reached, each once a lease. Raises: EgressRefusedError."""
        return self._reach.news(self._credentials() or ())

    def needs_preparing(self) -> bool:
        """Tell whether there are credentials, and nothing was made ready for them yet. Raises: EgressRefusedError."""
        return "authority" not in self.__dict__ and bool(self._credentials())

    def prepare(self) -> None:
        """Import and make what connections will need: 0.2 s of CPU, once."""
        import managed_agents.proxy.injection.interception  # noqa: F401 - it is used later, and slow

        _ = self.authority

    def is_there(self) -> bool:
        """Tell whether the session's file has come. Raises: EgressRefusedError."""
        return self._credentials() is not None

    def environment(self) -> dict[str, object]:
        """Return what the sandbox's tools get, in the form of `/bind` (docs/sandbox.md); empty where there is nothing.

        Raises: EgressRefusedError.
        """
        credentials = self._credentials()
        if not credentials:
            return {}
        return {"variables": variables_for(self._secret, credentials), "authority": self.authority.certificate}

    def _credentials(self) -> tuple[EnvironmentCredential, ...] | None:
        try:
            found = self._file.read()
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as problem:
            # Our own errors name the field only; those of JSON and of the system hold no content.
            text = f"the session's credentials: {problem}"
            raise EgressRefusedError(status=503, reason="credentials_unreadable", message=text) from None
        return found.credentials if found.session_id in {None, self._session} else None


class SessionCredentials:
    """Gives each sandbox of a session its credentials. Told each config, which says whether there are vaults."""

    def __init__(
        self,
        file: WatchedFile[EnvironmentCredentials],
        rules: EgressRules,
        *,
        seconds_max: float = FILE_SECONDS_MAX,
    ) -> None:
        self._file = file
        self._reach = Reach(rules)
        self._seconds_max = seconds_max
        self._awaited: str | None = None
        self._sandboxes: OrderedDict[str, SandboxCredentials] = OrderedDict()

    def configure(self, config: Mapping[str, Any], *, is_lease: bool = False) -> None:
        """Note whether a session has vaults, and what it reaches; with a lease, what was told is told again."""
        self._awaited = str(config.get("id")) if config.get("vault_ids") else None
        environment = (config.get("environment") or {}).get("config")
        if environment is not None:
            self._reach.configure(networking_from(environment))
        if is_lease:
            self._reach.leased()

    def of(self, binding: Binding) -> SandboxCredentials:
        """Return what a sandbox may use: the same object for all harnesses and epochs of this process."""
        found = self._sandboxes.setdefault(binding.secret, SandboxCredentials(self._file, binding, self._reach))
        self._sandboxes.move_to_end(binding.secret)
        while len(self._sandboxes) > SANDBOXES_MAX:
            self._sandboxes.popitem(last=False)
        return found

    def unreachable(self, binding: Binding) -> list[Unreachable]:
        """Return the credentials of a sandbox whose hosts it cannot reach, each once a lease."""
        try:
            return self.of(binding).unreachable()
        except EgressRefusedError:  # said where the file is needed
            return []

    async def environment_of(self, binding: Binding) -> Mapping[str, object] | None:
        """Return what to tell a sandbox at its bind; null where that is not known now, so that it keeps what it has.

        Waits, once for a session, until the file of a session with vaults is there.
        """
        credentials = self.of(binding)
        try:
            if self._awaited == binding.session:
                await self._settled(credentials)
            if credentials.needs_preparing():
                await asyncio.to_thread(credentials.prepare)
            return credentials.environment()
        except EgressRefusedError as problem:
            _log.warning("credentials_unreadable", reason=problem.message)
            return None

    async def _settled(self, credentials: SandboxCredentials) -> None:
        if not await comes(credentials.is_there, seconds=self._seconds_max):
            _log.warning("credentials_missing", seconds=self._seconds_max)
        self._awaited = None
