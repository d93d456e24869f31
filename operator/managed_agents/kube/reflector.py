"""A kind's objects of all namespaces, kept in memory by list and watch."""

import asyncio
import random
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import orjson
import structlog

from managed_agents.contracts.errors import ManagedAgentsError
from managed_agents.kube.client import Kube
from managed_agents.kube.errors import GoneError
from managed_agents.kube.resources import Manifest, Resource

RETRY_SECONDS_MAX = 10.0

Listener = Callable[[Manifest | None, Manifest | None], None]
"""Called with the object before and after a change; null where there is none."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Retry:
    seconds: float = 0.25

    def next(self) -> float:
        wait, self.seconds = self.seconds, min(self.seconds * 2, RETRY_SECONDS_MAX)
        return wait * random.uniform(0.75, 1.25)  # noqa: S311 - jitter, not a secret


@dataclass(slots=True, kw_only=True)
class Reflector:
    """Follows one kind. `shrink` may drop what nobody reads before an object is kept.

    Objects are kept as compressed JSON and parsed for whoever reads one: as dictionaries they would take ten times the
    room, and there may be very many Sessions. So readers get objects of their own. What a caller wrote itself is put in
    by `seen`, so that it reads its own writes.
    """

    kube: Kube
    resource: Resource
    labels: str | None = None
    shrink: Callable[[Manifest], Manifest] = lambda manifest: manifest
    synced: asyncio.Event = field(default_factory=asyncio.Event)
    _objects: dict[str, bytes] = field(default_factory=dict)
    _names: dict[tuple[str, str], str] = field(default_factory=dict)
    _gone: dict[str, int] = field(default_factory=dict)
    _listeners: list[Listener] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self._objects)

    def listen(self, listener: Listener) -> None:
        """Add a listener."""
        self._listeners.append(listener)

    def by_uid(self, uid: str) -> Manifest | None:
        """Return an object by its UID."""
        found = self._objects.get(uid)
        return None if found is None else _parsed(found)

    def by_name(self, namespace: str, name: str) -> Manifest | None:
        """Return an object by its name."""
        uid = self._names.get((namespace, name))
        return None if uid is None else self.by_uid(uid)

    def __iter__(self) -> Iterator[Manifest]:
        return map(_parsed, list(self._objects.values()))

    def in_namespace(self, namespace: str) -> list[Manifest]:
        """Return a namespace's objects, in no order."""
        uids = [uid for (home, _), uid in self._names.items() if home == namespace]
        return [_parsed(self._objects[uid]) for uid in uids]

    def seen(self, manifest: Manifest) -> None:
        """Keep an object unless a newer view of it is known or it is gone."""
        metadata = manifest["metadata"]
        uid, known = metadata["uid"], self.by_uid(metadata["uid"])
        if uid in self._gone or (known is not None and _version(known) >= _version(manifest)):
            return
        kept = self.shrink(manifest)
        self._objects[uid] = zlib.compress(orjson.dumps(kept), _LEVEL)
        self._names[metadata["namespace"], metadata["name"]] = uid
        self._tell(known, kept)

    def gone(self, manifest: Manifest) -> None:
        """Forget an object; a late view of it does not bring it back."""
        metadata = manifest["metadata"]
        self._gone[metadata["uid"]] = len(self._gone)
        while len(self._gone) > _GONE_MAX:
            del self._gone[next(iter(self._gone))]
        known = self.by_uid(metadata["uid"])
        self._objects.pop(metadata["uid"], None)
        if self._names.get((metadata["namespace"], metadata["name"])) == metadata["uid"]:
            del self._names[metadata["namespace"], metadata["name"]]
        if known is not None:
            self._tell(known, None)

    async def run(self) -> None:
        """List and watch until cancelled; a broken watch goes on where it stopped, an expired one lists again."""
        retry, version = _Retry(), None
        while True:
            try:
                if version is None:
                    version = await self._list()
                    self.synced.set()
                async for change in self.kube.watch(self.resource, version=version, labels=self.labels):
                    version = self._take(change)
                    retry = _Retry()
            except GoneError:
                version = None
            except ManagedAgentsError as failure:
                _log.warning("watch_failed", resource=self.resource.plural, reason=failure.message)
                await asyncio.sleep(retry.next())

    async def _list(self) -> str:
        found: set[str] = set()
        token: str | None = None
        version = ""
        before = set(self._objects)
        while True:
            items, token, version = await self.kube.page(self.resource, labels=self.labels, token=token)
            for item in items:
                found.add(item["metadata"]["uid"])
                self.seen(item)
            if token is None:
                break
        self._forget(_parsed(self._objects[uid]) for uid in before - found if uid in self._objects)
        return version

    def _forget(self, manifests: Iterable[Manifest]) -> None:
        for manifest in list(manifests):
            self.gone(manifest)

    def _take(self, change: Manifest) -> str:
        manifest = change["object"]
        match change["type"]:
            case "ADDED" | "MODIFIED":
                self.seen(manifest)
            case "DELETED":
                self.gone(manifest)
            case _:
                pass  # a bookmark: only its version counts
        return str(manifest["metadata"]["resourceVersion"])

    def _tell(self, before: Manifest | None, after: Manifest | None) -> None:
        for listener in self._listeners:
            listener(before, after)


_GONE_MAX = 10_000
"""UIDs of deleted objects that are remembered against late views."""


_LEVEL = 1
"""Of compression: a Session of 2 KB becomes 0.5 KB, in 14 µs, and is read in as many; 6 saves another twentieth."""


def _parsed(kept: bytes) -> Manifest:
    found: Manifest = orjson.loads(zlib.decompress(kept))
    return found


def _version(manifest: Manifest) -> int:
    """Return an object's version as a number: etcd's revision, which all kube-apiservers of today use."""
    return int(manifest["metadata"]["resourceVersion"])
