"""Sends each key to its reconciler, one run of a key at a time, and measures it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import assert_never

from managed_agents.contracts.clock import Clock
from managed_agents.operator.catalog.reconciler import CatalogReconciler
from managed_agents.operator.catalog.vaults_reconciler import VaultsReconciler
from managed_agents.operator.keys import Key
from managed_agents.operator.metrics import Metrics
from managed_agents.operator.namespaces import NamespaceReconciler
from managed_agents.operator.pools.reconciler import PoolsReconciler
from managed_agents.operator.sessions.reconciler import SessionReconciler


class Controller:
    """The queue's handler; kopf's handlers call it too, so a lock a key keeps both apart."""

    def __init__(
        self,
        sessions: SessionReconciler,
        catalog: CatalogReconciler,
        namespaces: NamespaceReconciler,
        pools: PoolsReconciler,
        vaults: VaultsReconciler,
        *,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._sessions = sessions
        self._catalog = catalog
        self._namespaces = namespaces
        self._pools = pools
        self._vaults = vaults
        self._clock = clock
        self._metrics = metrics
        self._locks: dict[Key, tuple[asyncio.Lock, int]] = {}

    async def reconcile(self, key: Key) -> float | None:
        """Reconcile a key now. Returns when to come back. Raises: what the reconciler raises."""
        started = self._clock.monotonic()
        result = "error"
        try:
            async with self._alone(key):
                after = await self._dispatch(key)
            result = "ok"
        finally:
            self._metrics.reconciles.labels(kind=key.kind, result=result).inc()
            self._metrics.reconcile_seconds.labels(kind=key.kind).observe(self._clock.monotonic() - started)
        return after

    async def _dispatch(self, key: Key) -> float | None:
        match key.kind:
            case "Session":
                return await self._sessions.reconcile(key.namespace, key.name)
            case "Agent":
                await self._catalog.agent(key.namespace, key.name)
                return None
            case "Environment":
                return await self._catalog.environment(key.namespace, key.name)
            case "Providers":
                return await self._catalog.providers(key.namespace)
            case "Namespace":
                return await self._namespaces.reconcile(key.namespace)
            case "Vaults":
                return await self._vaults.reconcile(key.namespace)
            case "Pools":
                return await self._pools.reconcile(key.namespace)
            case _:
                assert_never(key.kind)

    @asynccontextmanager
    async def _alone(self, key: Key) -> AsyncIterator[None]:
        lock, users = self._locks.get(key, (asyncio.Lock(), 0))
        self._locks[key] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks[key]
            if users == 1:
                del self._locks[key]
            else:
                self._locks[key] = (lock, users - 1)
