"""A semantic fake of the kube-apiserver's storage: uid, resourceVersion, generation, conflicts, status subresource,
finalizers, owner garbage collection, server-side apply (by manager, lists of conditions as maps), history for watches.

`kube_http.py` serves it over HTTP; `kube_nodes.py` plays controllers and kubelet. Where it differs from a real
kube-apiserver, the fake is wrong.
"""

import copy
import itertools
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

Manifest = dict[str, Any]
Place = tuple[str, str]
"""Namespace and name."""


@dataclass(frozen=True)
class Kind:
    group: str
    version: str
    plural: str
    kind: str
    has_status: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


OURS = "managedagents.dev"

KINDS = (
    Kind(OURS, "v1alpha1", "agents", "Agent"),
    Kind(OURS, "v1alpha1", "apikeys", "ApiKey", has_status=False),
    Kind(OURS, "v1alpha1", "environments", "Environment"),
    Kind(OURS, "v1alpha1", "modelproviders", "ModelProvider"),
    Kind(OURS, "v1alpha1", "sessions", "Session"),
    Kind(OURS, "v1alpha1", "vaults", "Vault"),
    Kind("", "v1", "pods", "Pod"),
    Kind("", "v1", "nodes", "Node"),
    Kind("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim"),
    Kind("", "v1", "configmaps", "ConfigMap", has_status=False),
    Kind("", "v1", "secrets", "Secret", has_status=False),
    Kind("", "v1", "serviceaccounts", "ServiceAccount", has_status=False),
    Kind("", "v1", "events", "Event", has_status=False),
    Kind("apps", "v1", "deployments", "Deployment"),
    Kind("apps", "v1", "replicasets", "ReplicaSet"),
    Kind("apps", "v1", "controllerrevisions", "ControllerRevision", has_status=False),
    Kind("batch", "v1", "jobs", "Job"),
    Kind("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", has_status=False),
    Kind("coordination.k8s.io", "v1", "leases", "Lease", has_status=False),
)


class ApiError(Exception):
    """A refusal, as the kube-apiserver's Status object says it."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message

    def status(self) -> Manifest:
        body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": self.code}
        return {**body, "reason": self.reason, "message": self.message}


@dataclass
class Change:
    version: int
    type: str
    plural: str
    object: Manifest


@dataclass
class FakeKube:
    """Objects by plural and place. `listeners` hear each change; `now` stamps."""

    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    objects: dict[str, dict[Place, Manifest]] = field(default_factory=dict)
    history: list[Change] = field(default_factory=list)
    listeners: list[Callable[[Change], None]] = field(default_factory=list)
    oldest: int = 0
    _versions: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _applied: dict[tuple[str, str, str], Manifest] = field(default_factory=dict)
    version: int = 0

    def get(self, plural: str, namespace: str, name: str) -> Manifest:
        found = self.objects.get(plural, {}).get((namespace, name))
        if found is None:
            raise ApiError(404, "NotFound", f'{plural} "{name}" not found')
        return copy.deepcopy(found)

    def find(self, plural: str, namespace: str, name: str) -> Manifest | None:
        found = self.objects.get(plural, {}).get((namespace, name))
        return copy.deepcopy(found) if found is not None else None

    def list(self, plural: str, namespace: str | None = None, labels: str | None = None) -> list[Manifest]:
        places = sorted(self.objects.get(plural, {}))
        found = [self.objects[plural][place] for place in places if namespace in (None, place[0])]
        return [copy.deepcopy(item) for item in found if matches(item, labels)]

    def create(self, kind: Kind, namespace: str, body: Manifest) -> Manifest:
        body = copy.deepcopy(body)
        metadata = body.setdefault("metadata", {})
        if "name" not in metadata:
            metadata["name"] = metadata["generateName"] + uuid.uuid4().hex[:5]
        if (namespace, metadata["name"]) in self.objects.get(kind.plural, {}):
            raise ApiError(409, "AlreadyExists", f'{kind.plural} "{metadata["name"]}" already exists')
        metadata |= {"namespace": namespace, "uid": metadata.get("uid") or str(uuid.uuid4()), "generation": 1}
        metadata["creationTimestamp"] = self._stamp()
        body |= {"apiVersion": kind.api_version, "kind": kind.kind}
        if kind.group == OURS:
            body.pop("status", None)
        return self._store(kind, body, "ADDED")

    def replace(
        self, kind: Kind, namespace: str, name: str, body: Manifest, subresource: str | None = None
    ) -> Manifest:
        before = self.get(kind.plural, namespace, name)
        given = body.get("metadata") or {}
        if given.get("resourceVersion") not in (None, before["metadata"]["resourceVersion"]):
            raise ApiError(409, "Conflict", f'{kind.plural} "{name}": the object has been modified')
        if subresource != "status" and given.get("uid") not in (None, before["metadata"]["uid"]):
            raise ApiError(422, "Invalid", f'{kind.plural} "{name}": metadata.uid: field is immutable')
        after = copy.deepcopy(body)
        after["metadata"] = {**before["metadata"], **given}
        if subresource == "status":
            after = {**before, "status": after.get("status")}
        elif kind.has_status:
            after["status"] = before.get("status")
            if after["status"] is None:
                del after["status"]
        if after.get("spec") != before.get("spec"):
            after["metadata"]["generation"] = before["metadata"]["generation"] + 1
        after |= {"apiVersion": kind.api_version, "kind": kind.kind}
        if _content(after) == _content(before):
            return before
        return self._store(kind, after, "MODIFIED")

    def merge(self, kind: Kind, namespace: str, name: str, patch: Manifest) -> Manifest:
        before = self.get(kind.plural, namespace, name)
        return self.replace(kind, namespace, name, merged(before, patch))

    def apply(
        self, kind: Kind, namespace: str, name: str, body: Manifest, manager: str, subresource: str | None = None
    ) -> Manifest:
        before = self.find(kind.plural, namespace, name)
        if before is None:
            if subresource:
                raise ApiError(404, "NotFound", f'{kind.plural} "{name}" not found')
            if (body.get("metadata") or {}).get("uid"):
                raise ApiError(409, "Conflict", f'{kind.plural} "{name}": uid mismatch, no existing object was found')
            return self.create(kind, namespace, body)
        key = (before["metadata"]["uid"], manager, subresource or "")
        without = pruned(before, self._applied.get(key, {}), body)
        after = self.replace(kind, namespace, name, applied(without, body), subresource)
        self._applied[key] = copy.deepcopy(body)
        return after

    def delete(self, kind: Kind, namespace: str, name: str, options: Manifest | None = None) -> Manifest:
        found = self.get(kind.plural, namespace, name)
        uid = ((options or {}).get("preconditions") or {}).get("uid")
        if uid not in (None, found["metadata"]["uid"]):
            raise ApiError(409, "Conflict", f'{kind.plural} "{name}": uid in precondition is {uid}')
        grace = (options or {}).get("gracePeriodSeconds")
        waits = kind.kind == "Pod" and grace != 0 and (found.get("spec") or {}).get("nodeName")
        if found["metadata"].get("finalizers") or waits:
            if not found["metadata"].get("deletionTimestamp"):
                found["metadata"]["deletionTimestamp"] = self._stamp()
                found = self._store(kind, found, "MODIFIED")
            return found
        self.remove(kind.plural, namespace, name)
        return {"kind": "Status", "apiVersion": "v1", "status": "Success"}

    def remove(self, plural: str, namespace: str, name: str) -> None:
        """Take an object away at once, and by garbage collection what it owns."""
        found = self.objects.get(plural, {}).pop((namespace, name), None)
        if found is None:
            return
        self._record("DELETED", plural, found)
        for kind in KINDS:
            for item in self.list(kind.plural, namespace):
                owners = item["metadata"].get("ownerReferences") or []
                if owners and all(owner["uid"] == found["metadata"]["uid"] for owner in owners):
                    self.delete(kind, namespace, item["metadata"]["name"])

    def set_status(self, plural: str, namespace: str, name: str, **status: Any) -> Manifest:
        found = self.get(plural, namespace, name)
        found["status"] = {**(found.get("status") or {}), **status}
        return self._store(kind_of(plural), found, "MODIFIED")

    def compact(self) -> None:
        """Forget the history: a watch from before now gets 410."""
        self.history.clear()
        self.oldest = self.version

    def _store(self, kind: Kind, body: Manifest, change: str) -> Manifest:
        metadata = body["metadata"]
        if metadata.get("deletionTimestamp") and not metadata.get("finalizers") and kind.kind != "Pod":
            self.remove(kind.plural, metadata["namespace"], metadata["name"])
            return copy.deepcopy(body)
        self.version = next(self._versions)
        metadata["resourceVersion"] = str(self.version)
        self.objects.setdefault(kind.plural, {})[metadata["namespace"], metadata["name"]] = copy.deepcopy(body)
        self._record(change, kind.plural, body)
        return copy.deepcopy(body)

    def _record(self, change: str, plural: str, body: Manifest) -> None:
        if change == "DELETED":
            self.version = next(self._versions)
            body = copy.deepcopy(body)
            body["metadata"]["resourceVersion"] = str(self.version)
        record = Change(self.version, change, plural, copy.deepcopy(body))
        self.history.append(record)
        for listener in list(self.listeners):
            listener(record)

    def _stamp(self) -> str:
        return self.now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def kind_of(plural: str) -> Kind:
    return next(kind for kind in KINDS if kind.plural == plural)


def matches(item: Manifest, selector: str | None) -> bool:
    labels = item["metadata"].get("labels") or {}
    for part in (selector or "").split(","):
        key, equals, value = part.partition("=")
        if key and (labels.get(key) != value if equals else key not in labels):
            return False
    return True


def merged(target: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def applied(target: Any, body: Any) -> Any:
    """Merge what a manager applies: maps by key, conditions by type, other lists whole."""
    if not isinstance(body, dict):
        return body
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in body.items():
        if key == "conditions" and isinstance(value, list):
            rest = [item for item in result.get(key) or [] if item["type"] not in {new["type"] for new in value}]
            result[key] = rest + value
        else:
            result[key] = applied(result.get(key), value)
    return result


def pruned(target: Any, before: Any, body: Any) -> Any:
    """Take away what the manager applied before and does not apply now."""
    if not isinstance(target, dict) or not isinstance(before, dict) or not isinstance(body, dict):
        return target
    result = {}
    for key, value in target.items():
        if key == "conditions" and isinstance(value, list):
            gone = {item["type"] for item in before.get(key) or []} - {item["type"] for item in body.get(key) or []}
            result[key] = [item for item in value if item["type"] not in gone]
        elif key in before and key not in body and key not in ("metadata", "apiVersion", "kind"):
            continue
        else:
            result[key] = pruned(value, before.get(key), body.get(key))
    return result


def _content(manifest: Manifest) -> Manifest:
    metadata = {key: value for key, value in manifest["metadata"].items() if key != "resourceVersion"}
    return {**manifest, "metadata": metadata}
