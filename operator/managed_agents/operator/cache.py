"""What the watches have shown so far, kept small: one compact JSON string per object.

An idle Session must cost little memory (design §9), so objects are stored as bytes and decoded when read. Our own
writes go in at once, so that a decision never waits for the echo of its own effect; older versions never overwrite
newer ones, and an object that we know to be deleted never comes back by a late event.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import orjson

from managed_agents.contracts import names
from managed_agents.kube.resources import Manifest, Resource
from managed_agents.operator.field_managers import event_managers

DELETED_UIDS_MAX = 4096
"""Deleted UIDs that are remembered; a late event arrives within seconds, not thousands of deletions later."""

_DROPPED_ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"

ObjectKey = tuple[str, str, str]
"""Plural, namespace, name."""

INDEXED = (names.LABEL_SESSION_UID, names.LABEL_POOL, names.LABEL_HARNESS)
"""Labels by whose value objects are found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    uid: str
    version: int
    data: bytes
    indexed: tuple[tuple[str, str], ...]
    """Those of its labels that are indexed."""


class Cache:
    """Objects by plural, namespace and name, with an index over a few labels."""

    def __init__(self) -> None:
        self._objects: dict[tuple[str, str], dict[str, _Entry]] = defaultdict(dict)
        self._labelled: dict[tuple[str, str], set[ObjectKey]] = defaultdict(set)
        self._deleted: OrderedDict[str, None] = OrderedDict()

    def put(self, resource: Resource, manifest: Manifest) -> bool:
        """Store an object unless a newer version, or its deletion, is known already; tell whether it was news."""
        metadata = manifest["metadata"]
        version = _version_of(metadata.get("resourceVersion"))
        shelf = self._objects[resource.plural, metadata["namespace"]]
        known = shelf.get(metadata["name"])
        if metadata["uid"] in self._deleted:
            return False
        if known is not None and known.uid == metadata["uid"] and known.version >= version:
            return False
        entry = _Entry(
            uid=metadata["uid"],
            version=version,
            data=orjson.dumps(_compact(manifest)),
            indexed=_indexed_of(manifest),
        )
        key = (resource.plural, metadata["namespace"], metadata["name"])
        self._unindex(key, known)
        shelf[metadata["name"]] = entry
        for label in entry.indexed:
            self._labelled[label].add(key)
        return True

    def remove(self, resource: Resource, namespace: str, name: str, uid: str) -> None:
        """Forget a deleted object and remember its UID, so that no late event revives it."""
        self._deleted[uid] = None
        while len(self._deleted) > DELETED_UIDS_MAX:
            self._deleted.popitem(last=False)
        shelf = self._objects.get((resource.plural, namespace), {})
        known = shelf.get(name)
        if known is None or known.uid != uid:
            return
        del shelf[name]
        self._unindex((resource.plural, namespace, name), known)

    def _unindex(self, key: ObjectKey, entry: _Entry | None) -> None:
        for label in entry.indexed if entry is not None else ():
            self._labelled[label].discard(key)
            if not self._labelled[label]:
                del self._labelled[label]

    def get(self, resource: Resource, namespace: str, name: str) -> Manifest | None:
        """Return a fresh copy of an object, or None."""
        entry = self._objects.get((resource.plural, namespace), {}).get(name)
        return None if entry is None else _decode(entry)

    def children(self, resource: Resource, session_uid: str) -> list[Manifest]:
        """Return the objects of a kind that carry the label of that Session, in order of their names."""
        return self.labelled(resource, names.LABEL_SESSION_UID, session_uid)

    def labelled(self, resource: Resource, label: str, value: str) -> list[Manifest]:
        """Return the objects of a kind with that value of an indexed label, in order of their names."""
        keys = sorted(key for key in self._labelled.get((label, value), ()) if key[0] == resource.plural)
        return [_decode(self._objects[plural, namespace][name]) for plural, namespace, name in keys]

    def values_of(self, label: str) -> set[str]:
        """Return the values of an indexed label that objects have now."""
        return {value for name, value in self._labelled if name == label}

    def in_namespace(self, resource: Resource, namespace: str) -> list[Manifest]:
        """Return the objects of a kind in one namespace, in order of their names."""
        shelf = self._objects.get((resource.plural, namespace), {})
        return [_decode(shelf[name]) for name in sorted(shelf)]

    def iterate(self, resource: Resource, namespace: str) -> Iterator[Manifest]:
        """Yield the objects of a kind in one namespace as they are asked for, in no order, with no change meanwhile."""
        return map(_decode, self._objects.get((resource.plural, namespace), {}).values())

    def names_in(self, resource: Resource, namespace: str) -> list[str]:
        """Return the names of the objects of a kind in one namespace."""
        return sorted(self._objects.get((resource.plural, namespace), {}))

    def known(self, resource: Resource) -> dict[tuple[str, str], str]:
        """Return the UID of each object of a kind, by namespace and name."""
        return {
            (namespace, name): entry.uid
            for (plural, namespace), shelf in self._objects.items()
            if plural == resource.plural
            for name, entry in shelf.items()
        }


def _indexed_of(manifest: Manifest) -> tuple[tuple[str, str], ...]:
    labels = manifest["metadata"].get("labels") or {}
    return tuple((label, str(labels[label])) for label in INDEXED if labels.get(label))


def _decode(entry: _Entry) -> Manifest:
    manifest: Manifest = orjson.loads(entry.data)
    return manifest


EVENT_MANAGERS = "eventManagers"
"""What of `managedFields` is kept, in its place: who wrote each entry of a Session's `spec.events`."""


def _compact(manifest: Manifest) -> Manifest:
    metadata = {key: value for key, value in manifest["metadata"].items() if key != "managedFields"}
    if managers := event_managers(manifest["metadata"].get("managedFields") or ()):
        metadata[EVENT_MANAGERS] = managers
    annotations = metadata.get("annotations")
    if annotations and _DROPPED_ANNOTATION in annotations:
        metadata["annotations"] = {key: value for key, value in annotations.items() if key != _DROPPED_ANNOTATION}
    return {**manifest, "metadata": metadata}


def _version_of(resource_version: str | None) -> int:
    """Read a resourceVersion as a number, which Kubernetes guarantees to be comparable since 1.35 and was before."""
    return int(resource_version) if resource_version and resource_version.isdigit() else 0
