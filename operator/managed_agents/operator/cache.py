"""What the watches have shown so far, kept small: one compact JSON string per object.

An idle Session must cost little memory (design §9), so objects are stored as bytes and decoded when read. Our own
writes go in at once, so that a decision never waits for the echo of its own effect; older versions never overwrite
newer ones, and an object that we know to be deleted never comes back by a late event.
"""

from collections import OrderedDict, defaultdict
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    uid: str
    version: int
    data: bytes


class Cache:
    """Objects by plural, namespace and name, with an index of the children of each Session UID."""

    def __init__(self) -> None:
        self._objects: dict[tuple[str, str], dict[str, _Entry]] = defaultdict(dict)
        self._children: dict[str, set[ObjectKey]] = defaultdict(set)
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
        shelf[metadata["name"]] = _Entry(uid=metadata["uid"], version=version, data=orjson.dumps(_compact(manifest)))
        owner = _session_uid_of(manifest)
        if owner:
            self._children[owner].add((resource.plural, metadata["namespace"], metadata["name"]))
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
        owner = _session_uid_of(_decode(known))
        if owner and owner in self._children:
            self._children[owner].discard((resource.plural, namespace, name))
            if not self._children[owner]:
                del self._children[owner]

    def get(self, resource: Resource, namespace: str, name: str) -> Manifest | None:
        """Return a fresh copy of an object, or None."""
        entry = self._objects.get((resource.plural, namespace), {}).get(name)
        return None if entry is None else _decode(entry)

    def children(self, resource: Resource, session_uid: str) -> list[Manifest]:
        """Return the objects of a kind that carry the label of that Session, in order of their names."""
        keys = sorted(key for key in self._children.get(session_uid, ()) if key[0] == resource.plural)
        return [_decode(self._objects[plural, namespace][name]) for plural, namespace, name in keys]

    def in_namespace(self, resource: Resource, namespace: str) -> list[Manifest]:
        """Return the objects of a kind in one namespace, in order of their names."""
        shelf = self._objects.get((resource.plural, namespace), {})
        return [_decode(shelf[name]) for name in sorted(shelf)]

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


def _session_uid_of(manifest: Manifest) -> str | None:
    owner = (manifest["metadata"].get("labels") or {}).get(names.LABEL_SESSION_UID)
    return str(owner) if owner else None


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
