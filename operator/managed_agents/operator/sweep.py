"""Finds what the watches lost: a paginated LIST of every watched kind, at the start and every few minutes.

An object that was cached before a list began and is not in it has been deleted; kopf tells nothing of objects that
vanish during its re-lists (style §3). Level triggering (guarantee I20) rests on this.
"""

import asyncio
from collections.abc import Callable

import structlog

from managed_agents.contracts.errors import ManagedAgentsError
from managed_agents.kube.client import Kube
from managed_agents.kube.resources import SESSIONS, Resource
from managed_agents.operator.cache import Cache
from managed_agents.operator.feed import Feed
from managed_agents.operator.watched import WATCHED, selector_of

FIRST_RETRY_SECONDS = 2.0


class Sweeper:
    """Lists everything; `prime` before the first decision, `run` for ever."""

    def __init__(
        self,
        kube: Kube,
        cache: Cache,
        feed: Feed,
        *,
        interval_seconds: float,
        on_sweep: Callable[[], None],
    ) -> None:
        self._kube = kube
        self._cache = cache
        self._feed = feed
        self._interval_seconds = interval_seconds
        self._on_sweep = on_sweep
        self._log = structlog.get_logger()

    async def prime(self) -> None:
        """Fill the cache before anything is decided; retried until the kube-apiserver answers."""
        while True:
            try:
                await self.sweep()
            except ManagedAgentsError as failure:
                self._log.warning("first_list_failed", error=failure.message)
                await asyncio.sleep(FIRST_RETRY_SECONDS)
            else:
                return

    async def run(self) -> None:
        """Sweep at each interval until cancelled."""
        while True:
            await asyncio.sleep(self._interval_seconds)
            try:
                await self.sweep()
                self._on_sweep()
            except ManagedAgentsError as failure:
                self._log.warning("sweep_failed", error=failure.message)

    async def sweep(self) -> None:
        """List each kind once, references before Sessions. Raises: RetryableError, ForbiddenError."""
        for resource in sorted(WATCHED, key=lambda resource: resource == SESSIONS):
            await self._sweep(resource)

    async def _sweep(self, resource: Resource) -> None:
        before = self._cache.known(resource)
        present: set[str] = set()
        async for manifest in self._kube.pages(resource, labels=selector_of(resource)):
            present.add(manifest["metadata"]["uid"])
            self._feed.seen(resource, manifest)
        for (namespace, name), uid in before.items():
            if uid not in present:
                self._feed.vanished(resource, namespace, name, uid)
