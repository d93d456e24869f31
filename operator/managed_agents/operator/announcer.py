"""Posts Kubernetes Events: one table of types, each fingerprint once for an object, never a reason to fail."""

from collections import OrderedDict
from datetime import UTC, datetime
from typing import Any

import structlog

from managed_agents.contracts import causes, names
from managed_agents.contracts.api import conditions
from managed_agents.contracts.clock import Clock
from managed_agents.contracts.errors import ManagedAgentsError
from managed_agents.kube.client import Kube
from managed_agents.kube.resources import EVENTS, Manifest
from managed_agents.operator.actions import Announce

REMEMBERED_MAX = 8192
"""Fingerprints kept to say nothing twice; about 1 MB."""

MESSAGE_CHARACTERS_MAX = 1000
"""The Events API refuses notes above 1 KiB."""

WARNINGS = frozenset(
    {
        conditions.PACKAGES_FAILED,
        conditions.AGENT_NOT_FOUND,
        conditions.AGENT_VERSION_NOT_FOUND,
        conditions.ENVIRONMENT_NOT_FOUND,
        conditions.MODEL_NOT_SERVED,
        conditions.MODEL_PROVIDER_AMBIGUOUS,
        conditions.SECRET_NOT_FOUND,
        conditions.SECRET_ACCESS_DENIED,
        conditions.NOT_SUPPORTED,
        conditions.MCP_SERVERS_INVALID,
        conditions.CONFIG_MAP_NOT_FOUND,
        conditions.SYSTEM_NAMESPACE_REFUSED,
        conditions.SERVER_UNREACHABLE,
        conditions.ACCESS_REFUSED,
        conditions.REFUSED,
        conditions.IMAGE_PULL_FAILED,
        conditions.UNSCHEDULABLE,
        conditions.QUOTA_EXCEEDED,
        conditions.VOLUME_FULL,
        conditions.POD_FAILED,
        conditions.OOM_KILLED,
        conditions.EVICTED,
        conditions.SANDBOX_LOST,
        conditions.MODEL_REQUEST_FAILED,
        conditions.IDLE_REASONS["retries_exhausted"],
        *(cause.reason for cause in causes.ALL),
    }
)
"""Reasons that ask for somebody's attention; all others are Normal."""


def event_type(reason: str) -> str:
    """Return the type of a Kubernetes Event."""
    return "Warning" if reason in WARNINGS else "Normal"


class Announcer:
    """Posts Events on our objects. It forgets with the process: then one may be said again."""

    def __init__(self, kube: Kube, clock: Clock, *, identity: str) -> None:
        self._kube = kube
        self._clock = clock
        self._identity = identity
        self._said: OrderedDict[tuple[str, str, str], None] = OrderedDict()
        self._log = structlog.get_logger()

    async def announce(self, announcement: Announce) -> None:
        """Post an Event unless it has been said; a refusal is logged and otherwise ignored."""
        key = (announcement.owner["metadata"]["uid"], announcement.reason, announcement.fingerprint)
        if key in self._said:
            return
        self._said[key] = None
        while len(self._said) > REMEMBERED_MAX:
            self._said.popitem(last=False)
        namespace = announcement.owner["metadata"]["namespace"]
        body = event_for(announcement, self._clock.now(), identity=self._identity, key=key)
        try:
            await self._kube.create(EVENTS, namespace, body)
        except ManagedAgentsError as failure:
            self._log.warning("event_not_posted", reason=announcement.reason, error=failure.message)


def event_for(announcement: Announce, now: datetime, *, identity: str, key: tuple[str, str, str]) -> Manifest:
    """Build the Event; its name follows from what it says and when."""
    metadata = announcement.owner["metadata"]
    moment = now.astimezone(UTC)
    stamp = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    involved: dict[str, Any] = {
        "apiVersion": announcement.resource.api_version,
        "kind": announcement.resource.kind,
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "uid": metadata["uid"],
    }
    unique = names.short_hash("/".join((*key, moment.isoformat())), 16)
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata['name']}.{unique}", "namespace": metadata["namespace"]},
        "involvedObject": involved,
        "reason": announcement.reason,
        "message": announcement.message[:MESSAGE_CHARACTERS_MAX],
        "type": event_type(announcement.reason),
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
        "source": {"component": names.MANAGER},
        "reportingComponent": names.MANAGER,
        "reportingInstance": identity,
    }
