"""Where watch events enter: cache the object, queue what it concerns, and nothing else (style §3)."""

from collections.abc import Callable

from managed_agents.kube.resources import DEPLOYMENTS, Manifest, Resource
from managed_agents.operator.cache import Cache
from managed_agents.operator.keys import Key, keys_for
from managed_agents.operator.starts import Starts


class Feed:
    """Takes objects from kopf's watches, from sweeps and from live reads."""

    def __init__(self, cache: Cache, add: Callable[[Key], None], starts: Starts) -> None:
        self._cache = cache
        self._starts = starts
        self._add = add

    def seen(self, resource: Resource, manifest: Manifest) -> None:
        """Take an object as it is now."""
        metadata = manifest["metadata"]
        before = self._cache.get(resource, metadata["namespace"], metadata["name"])
        if self._cache.put(resource, manifest):
            if resource == DEPLOYMENTS:
                self._starts.seen(manifest)
            self._queue(resource, manifest, before)

    def gone(self, resource: Resource, manifest: Manifest) -> None:
        """Take the news that an object is deleted."""
        metadata = manifest["metadata"]
        self._cache.remove(resource, metadata["namespace"], metadata["name"], metadata["uid"])
        if resource == DEPLOYMENTS:
            self._starts.end(metadata["namespace"], metadata["name"])
        self._queue(resource, manifest, None)

    def vanished(self, resource: Resource, namespace: str, name: str, uid: str) -> None:
        """Take the finding of a sweep that an object is no longer there."""
        known = self._cache.get(resource, namespace, name)
        if known is not None and known["metadata"]["uid"] == uid:
            self.gone(resource, known)

    def _queue(self, resource: Resource, manifest: Manifest, before: Manifest | None) -> None:
        for key in keys_for(resource, manifest, before, self._cache):
            self._add(key)
