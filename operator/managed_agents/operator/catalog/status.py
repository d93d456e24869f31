"""The status of what Sessions refer to: one condition `Ready`, written when it differs, told when its reason is new."""

from datetime import datetime

from managed_agents.contracts.api import conditions
from managed_agents.contracts.clock import Clock
from managed_agents.kube.resources import Manifest, Resource
from managed_agents.operator.actions import Announce, WriteStatus
from managed_agents.operator.apply import ClusterEffects
from managed_agents.operator.conditions import Condition, paused_status, render
from managed_agents.operator.sessions.model import Memory, condition_of, is_paused


class CatalogStatus:
    """Writes statuses."""

    def __init__(self, cluster: ClusterEffects, clock: Clock) -> None:
        self._cluster = cluster
        self._clock = clock

    async def paused(self, resource: Resource, owner: Manifest) -> bool:
        """Tell whether an object is paused, and say so in a condition beside the ones it has."""
        if not is_paused(owner):
            return False
        known = condition_of(owner, conditions.RECONCILING) or {}
        generation = int(owner["metadata"]["generation"])
        if (known.get("reason"), known.get("observedGeneration")) != (conditions.PAUSED, generation):
            status = paused_status(owner, self._clock.now())
            await self._cluster.run(WriteStatus(resource=resource, owner=owner, status=status), Memory())
        return True

    async def write(self, resource: Resource, owner: Manifest, status: dict[str, object], ready: Condition) -> None:
        """Write a status if it differs, and tell a new reason."""
        now: datetime = self._clock.now()
        conditions_ = render([ready], owner, int(owner["metadata"]["generation"]), now)
        wanted = status | {"conditions": conditions_}
        before = condition_of(owner, conditions.READY) or {}
        if (owner.get("status") or {}) == wanted:
            return
        await self._cluster.run(WriteStatus(resource=resource, owner=owner, status=wanted), Memory())
        if (before.get("status"), before.get("reason")) != (conditions_[0]["status"], conditions_[0]["reason"]):
            fingerprint = f"{owner['metadata']['generation']}/{ready.message}"
            told = Announce(
                resource=resource, owner=owner, reason=ready.reason, message=ready.message, fingerprint=fingerprint
            )
            await self._cluster.run(told, Memory())


def not_ready(reason: str, message: str) -> Condition:
    """Return a `Ready` that is false, for a reason that a user can end."""
    return Condition(kind=conditions.READY, is_true=False, reason=reason, message=message)


def valid() -> Condition:
    """Return a `Ready` that is true."""
    return Condition(kind=conditions.READY, is_true=True, reason=conditions.VALID, message="valid and usable")
