"""Brings the Environment's packages into a sandbox before its first call (docs/packages.md)."""

from dataclasses import dataclass
from typing import Protocol

import structlog

from managed_agents.contracts.packages import is_digest
from managed_agents.proxy.bindings import Binding, MalformedError, Pending
from managed_agents.proxy.errors import RefusedError
from managed_agents.proxy.forward import UnreachableError

PENDING = "PackagesPending"
FAILED = "PackagesFailed"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The packages that a sandbox must have; `digest` is None where it needs none."""

    digest: str | None
    is_there: bool


class PackageTransfers(Protocol):
    """Each call raises: RefusedError, UnreachableError, MalformedError."""

    async def packages(self, binding: Binding) -> Wanted:
        """Ask a sandbox what it must have."""
        ...

    async def place_packages(self, binding: Binding, digest: str) -> None:
        """Copy an archive from the server into the sandbox, which unpacks it."""
        ...


class Packages:
    """Asks each sandbox once, and again after a failure."""

    def __init__(self, transfers: PackageTransfers) -> None:
        self._transfers = transfers
        self._done: str | None = None

    async def supplied(self, binding: Binding) -> Pending | None:
        """See that a bound sandbox has its packages: None when it has, else what it waits for."""
        if self._done == binding.pod_name:
            return None
        try:
            wanted = await self._transfers.packages(binding)
            if wanted.digest is not None and not wanted.is_there:
                await self._transfers.place_packages(binding, wanted.digest)
        except UnreachableError as problem:
            return _pending(binding, PENDING, f"the environment's packages cannot be brought now: {problem}")
        except MalformedError as problem:
            return _pending(binding, FAILED, f"the sandbox's answer about packages is malformed: {problem}")
        except RefusedError as refusal:
            _log.warning("packages_not_placed", pod=binding.pod_name, status=refusal.status, error=refusal.kind)
            reason = FAILED if refusal.status in {400, 507} else PENDING
            return _pending(binding, reason, f"the environment's packages are not there: {refusal.message}")
        self._done = binding.pod_name
        return None


def wanted_from(document: object) -> Wanted:
    """Read a sandbox's answer. Raises: MalformedError."""
    if not isinstance(document, dict) or not isinstance(document.get("is_there"), bool):
        raise MalformedError("is_there: true or false is required")
    digest = document.get("digest")
    if digest is not None and not (isinstance(digest, str) and is_digest(digest)):
        raise MalformedError("digest: a hash or null is required")
    return Wanted(digest=digest, is_there=document["is_there"])


def _pending(binding: Binding, reason: str, message: str) -> Pending:
    return Pending(pod_name=binding.pod_name, generation=binding.generation, reason=reason, message=message)
