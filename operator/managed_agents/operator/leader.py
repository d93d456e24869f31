"""One working operator at a time: a Lease in its own namespace, as client-go's leader election does it.

Correctness does not hang on it (effects are idempotent and carry UID preconditions); it spares double work. Times are
measured on this process's monotonic clock, so that skewed wall clocks change nothing (guarantee F32).
"""

import asyncio
from collections.abc import Callable
from datetime import UTC

import structlog

from managed_agents.contracts.clock import Clock, rfc3339
from managed_agents.contracts.errors import ConflictError, ManagedAgentsError, NotFoundError
from managed_agents.kube.client import Kube
from managed_agents.kube.resources import LEASES, PODS, Manifest

LEASE_NAME = "managed-agents-operator"
LEASE_SECONDS = 15
"""A dead leader is replaced after so long (client-go's default)."""
RENEW_SECONDS = 5.0
"""Two missed renewals still keep the Lease."""
RETRY_SECONDS = 2.0


class Leadership:
    """Holds, renews and gives back the Lease."""

    def __init__(self, kube: Kube, clock: Clock, *, namespace: str, identity: str) -> None:
        self._kube = kube
        self._clock = clock
        self._namespace = namespace
        self._identity = identity
        self._seen: tuple[str, float] = ("", 0.0)
        self._log = structlog.get_logger()

    async def acquire(self) -> None:
        """Wait until this process leads."""
        is_told = False
        while True:
            try:
                if await self.try_once():
                    self._log.info("leading", identity=self._identity)
                    return
                if not is_told:
                    self._log.info("lease_held_by_another", identity=self._identity)
                    is_told = True
            except ManagedAgentsError as failure:
                self._log.warning("lease_not_taken", error=failure.message)
            await asyncio.sleep(RETRY_SECONDS)

    async def hold(self, lost: Callable[[], None]) -> None:
        """Renew until another holds the Lease or it could not be renewed for its whole term; then call `lost`."""
        renewed = self._clock.monotonic()
        while self._clock.monotonic() - renewed < LEASE_SECONDS - RENEW_SECONDS:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                if not await self.try_once():
                    break
                renewed = self._clock.monotonic()
            except ManagedAgentsError as failure:
                self._log.warning("lease_not_renewed", error=failure.message)
        self._log.error("leadership_lost", identity=self._identity)
        lost()

    async def release(self) -> None:
        """Give the Lease back, so that the next one need not wait for its end."""
        lease = await self._read()
        if lease is None or (lease.get("spec") or {}).get("holderIdentity") != self._identity:
            return
        lease["spec"]["holderIdentity"] = ""
        await self._kube.replace(LEASES, self._namespace, LEASE_NAME, lease)

    async def try_once(self) -> bool:
        """Take or renew the Lease if it is free, expired or ours; tell whether this process leads."""
        lease = await self._read()
        if lease is None:
            await self._kube.create(LEASES, self._namespace, self._written({}, {}))
            return True
        spec = lease.get("spec") or {}
        holder = spec.get("holderIdentity")
        is_free = holder in (self._identity, "", None) or self._is_expired(lease) or await self._is_gone(str(holder))
        if not is_free:
            return False
        try:
            await self._kube.replace(LEASES, self._namespace, LEASE_NAME, self._written(lease, spec))
        except ConflictError:
            return False
        return True

    def _is_expired(self, lease: Manifest) -> bool:
        """Tell whether the holder has not renewed for a term, as this process saw it."""
        version = str(lease["metadata"]["resourceVersion"])
        if self._seen[0] != version:
            self._seen = (version, self._clock.monotonic())
            return False
        return self._clock.monotonic() - self._seen[1] > LEASE_SECONDS

    async def _is_gone(self, holder: str) -> bool:
        """Tell whether the holder was a Pod beside ours and is no more: a killed operator is replaced at once."""
        return await self._is_pod(self._identity) and not await self._is_pod(holder)

    async def _is_pod(self, name: str) -> bool:
        try:
            await self._kube.get(PODS, self._namespace, name, metadata_only=True)
        except NotFoundError:
            return False
        return True

    def _written(self, lease: Manifest, spec: Manifest) -> Manifest:
        now = rfc3339(self._clock.now().astimezone(UTC))
        is_mine = spec.get("holderIdentity") == self._identity
        return {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": lease.get("metadata") or {"name": LEASE_NAME, "namespace": self._namespace},
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": LEASE_SECONDS,
                "acquireTime": spec.get("acquireTime") if is_mine else now,
                "renewTime": now,
                "leaseTransitions": int(spec.get("leaseTransitions") or 0) + (0 if is_mine else 1),
            },
        }

    async def _read(self) -> Manifest | None:
        try:
            return await self._kube.get(LEASES, self._namespace, LEASE_NAME)
        except NotFoundError:
            return None
