"""Holds a namespace's NetworkPolicies in force while it has Sessions or warm Pods: anybody may delete or change one."""

import structlog

from managed_agents.contracts import names
from managed_agents.kube.errors import ForbiddenError
from managed_agents.kube.resources import PODS, SESSIONS
from managed_agents.operator.apply import ClusterEffects
from managed_agents.operator.cache import Cache

FORBIDDEN_RETRY_SECONDS = 30.0
"""A namespace that is being deleted, or an admission policy: neither tells us when it has changed its mind."""


class NamespaceReconciler:
    """Puts policies right that stood before a Session's first Pod; never makes the first ones."""

    def __init__(self, cache: Cache, cluster: ClusterEffects) -> None:
        self._cache = cache
        self._cluster = cluster
        self._log = structlog.get_logger()

    async def reconcile(self, namespace: str) -> float | None:
        """Apply what is amiss. Returns when to look again. Raises: RetryableError."""
        if not (self._has_sessions(namespace) or self._has_pools(namespace)):
            return None
        try:
            await self._cluster.restore_policies(namespace)
        except ForbiddenError as failure:
            self._log.warning("policies_refused", namespace=namespace, error=failure.message)
            return FORBIDDEN_RETRY_SECONDS
        return None

    def _has_pools(self, namespace: str) -> bool:
        values = self._cache.values_of(names.LABEL_POOL)
        members = (pod for value in values for pod in self._cache.labelled(PODS, names.LABEL_POOL, value))
        return any(pod["metadata"]["namespace"] == namespace for pod in members)

    def _has_sessions(self, namespace: str) -> bool:
        sessions = self._cache.iterate(SESSIONS, namespace)  # each new Pod asks: the first one answers, as a rule
        return any(not session["metadata"].get("deletionTimestamp") for session in sessions)
