"""Where watch events enter: cache the object, queue what it concerns, and nothing else (style §3)."""

from collections.abc import Callable

from managed_agents.contracts.clock import Clock
from managed_agents.kube.resources import DEPLOYMENTS, Manifest, Resource
from managed_agents.operator.cache import Cache
from managed_agents.operator.keys import Key, keys_for
from managed_agents.operator.starts import Starts
from managed_agents.operator.urgency import is_loss_urgent, is_urgent


class Feed:
    """Takes objects from kopf's watches, from sweeps and from live reads."""

    def __init__(
        self,
        cache: Cache,
        starts: Starts,
        clock: Clock,
        *,
        add: Callable[[Key], None],
        add_soon: Callable[[Key], None],
    ) -> None:
        self._cache = cache
        self._starts = starts
        self._clock = clock
        self._add = add
        self._add_soon = add_soon

    def seen(self, resource: Resource, manifest: Manifest) -> None:
        """Take an object as it is now."""
        metadata = manifest["metadata"]
        before = self._cache.get(resource, metadata["namespace"], metadata["name"])
        if self._cache.put(resource, manifest):
            if resource == DEPLOYMENTS:
                self._starts.seen(manifest)
            urgent = is_urgent(resource, manifest, before, self._clock.now())
            self._queue(resource, manifest, before, urgent=urgent)

    def gone(self, resource: Resource, manifest: Manifest) -> None:
        """Take the news that an object is deleted."""
        metadata = manifest["metadata"]
        self._cache.remove(resource, metadata["namespace"], metadata["name"], metadata["uid"])
        if resource == DEPLOYMENTS:
            self._starts.end(metadata["namespace"], metadata["name"])
        self._queue(resource, manifest, None, urgent=is_loss_urgent(resource))

    def vanished(self, resource: Resource, namespace: str, name: str, uid: str) -> None:
        """Take the finding of a sweep that an object is no longer there."""
        known = self._cache.get(resource, namespace, name)
        if known is not None and known["metadata"]["uid"] == uid:
            self.gone(resource, known)

    def _queue(self, resource: Resource, manifest: Manifest, before: Manifest | None, *, urgent: bool) -> None:
        add = self._add if urgent else self._add_soon
        for key in keys_for(resource, manifest, before, self._cache):
            add(key)
