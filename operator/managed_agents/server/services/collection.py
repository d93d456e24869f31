"""One kind of custom resource as the API works with it: found by id, created under a readable name, changed safely.

Reads come from memory, writes go to the kube-apiserver and are seen at once by the caller's next read.
"""

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from managed_agents.contracts import ids, names
from managed_agents.contracts.errors import ConflictError, NotFoundError, RetryableError
from managed_agents.kube.client import Kube
from managed_agents.kube.errors import AlreadyExistsError
from managed_agents.kube.reflector import Reflector
from managed_agents.kube.resources import Manifest, Resource
from managed_agents.server.services.errors import ApiConflictError
from managed_agents.server.services.ownership import require_unowned
from managed_agents.server.services.refusals import translated

NAME_ATTEMPTS_MAX = 5
CHANGE_ATTEMPTS_MAX = 8
"""How often a change is made anew on the newest view before the caller hears of the conflict."""

_SUFFIX_LENGTH = 6
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""As Kubernetes' own generated names: no vowels, nothing to mistake."""


@dataclass(slots=True, kw_only=True)
class Collection:
    """The objects of one kind in all namespaces. `prefix` is that of the kind's ids."""

    kube: Kube
    reflector: Reflector
    prefix: str
    suffix: Callable[[], str] = lambda: "".join(secrets.choice(_ALPHABET) for _ in range(_SUFFIX_LENGTH))
    _annotated: dict[str, str] = field(default_factory=dict)
    """UIDs by the id that a restore gave the object; first come, first served."""

    def __post_init__(self) -> None:
        self.reflector.listen(self._index)

    @property
    def resource(self) -> Resource:
        """Return the kind."""
        return self.reflector.resource

    def id_of(self, manifest: Manifest) -> str:
        """Return an object's id in the API: from its UID, or the one that a restore annotated."""
        metadata = manifest["metadata"]
        return _annotation(manifest) or ids.id_for(self.prefix, metadata["uid"])

    def find(self, object_id: str) -> Manifest | None:
        """Return the object of an id, of whatever namespace; the caller's rights are the caller's matter.

        One that is being deleted is gone.
        """
        uid = _uid_in(object_id, self.prefix)
        found = self.reflector.by_uid(uid) if uid is not None else None
        if found is None or self.id_of(found) != object_id:
            found = self.reflector.by_uid(self._annotated.get(object_id, ""))
        return None if found is None or found["metadata"].get("deletionTimestamp") else found

    def get(self, object_id: str) -> Manifest:
        """Return the object of an id.

        Raises: NotFoundError; RetryableError while the server has not read the objects yet.
        """
        found = self.find(object_id)
        if found is not None:
            return found
        self.require_synced()
        raise NotFoundError(f"{self.resource.kind.lower()} {object_id} not found")

    def require_synced(self) -> None:
        """Raises: RetryableError until all objects have been read once."""
        if not self.reflector.synced.is_set():
            raise RetryableError(f"the server is still reading {self.resource.plural} from the kube-apiserver")

    def by_name(self, namespace: str, name: str) -> Manifest | None:
        """Return an object by its name."""
        return self.reflector.by_name(namespace, name)

    def in_namespace(self, namespace: str) -> list[Manifest]:
        """Return a namespace's objects in no order, but those being deleted. Raises: RetryableError as `get`."""
        self.require_synced()
        found = self.reflector.in_namespace(namespace)
        return [manifest for manifest in found if not manifest["metadata"].get("deletionTimestamp")]

    async def create(
        self,
        namespace: str,
        spec: Mapping[str, Any],
        *,
        title: str,
        annotations: Mapping[str, str] | None = None,
    ) -> Manifest:
        """Create an object under a readable, free name made from `title`.

        Raises: RejectedError, ForbiddenError, NotFoundError (no such namespace), RetryableError.
        """
        with translated():
            for _ in range(NAME_ATTEMPTS_MAX):
                body = self._body(namespace, name_for(title, self.resource.kind, self.suffix()), spec, annotations)
                try:
                    return self._seen(await self.kube.create(self.resource, namespace, body))
                except AlreadyExistsError:
                    continue
        raise RetryableError(f"no free name was found for {self.resource.kind} {title!r}; try again")

    async def change(self, manifest: Manifest, decide: Callable[[Manifest], Manifest | None]) -> Manifest:
        """Change an object: `decide` gets its newest view and returns a merge patch, None for nothing to do.

        A rival's write in between makes it decide again, so no edit is lost; returns the object as it is then.
        Raises: NotFoundError, RejectedError (also for a field that GitOps manages), ForbiddenError, ApiConflictError
        when rivals never rest, RetryableError.
        """
        for _ in range(CHANGE_ATTEMPTS_MAX):
            newest = await self.live(manifest)
            patch = decide(newest)
            if patch is None:
                return newest
            require_unowned(newest, patch, manager=API_MANAGER)
            try:
                return await self._merged(newest, patch)
            except ConflictError:
                continue
        raise ApiConflictError(f"{self.id_of(manifest)} is being changed by others all the time; try again")

    async def delete(self, manifest: Manifest) -> None:
        """Delete exactly this object; one that is gone already is no error. Raises: ForbiddenError, RetryableError."""
        namespace, name, uid = (manifest["metadata"][key] for key in ("namespace", "name", "uid"))
        with translated():
            try:
                left = await self.kube.delete(self.resource, namespace, name, uid=uid)
            except (NotFoundError, ConflictError):
                left = {}
        if left.get("kind") == self.resource.kind and (left["metadata"].get("finalizers") or []):
            self._seen(left)
        else:
            self.reflector.gone(manifest)

    async def _merged(self, newest: Manifest, patch: Manifest) -> Manifest:
        metadata = newest["metadata"]
        guarded = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
        body = patch | {"metadata": (patch.get("metadata") or {}) | guarded}
        with translated():
            merged = await self.kube.merge(self.resource, metadata["namespace"], metadata["name"], body)
        return self._seen(merged)

    async def live(self, manifest: Manifest) -> Manifest:
        """Read an object anew, from quorum; one that took a deleted one's name is another.

        Raises: NotFoundError, RetryableError.
        """
        namespace, name, uid = (manifest["metadata"][key] for key in ("namespace", "name", "uid"))
        try:
            with translated():
                found = await self.kube.get(self.resource, namespace, name)
        except NotFoundError:
            found = None
        if found is None or found["metadata"]["uid"] != uid or found["metadata"].get("deletionTimestamp"):
            raise NotFoundError(f"{self.resource.kind.lower()} {self.id_of(manifest)} not found")
        return self._seen(found)

    def _body(
        self, namespace: str, name: str, spec: Mapping[str, Any], annotations: Mapping[str, str] | None
    ) -> Manifest:
        metadata: Manifest = {"name": name, "namespace": namespace}
        metadata["labels"] = {names.LABEL_MANAGED_BY: API_MANAGER}
        if annotations:
            metadata["annotations"] = dict(annotations)
        return {
            "apiVersion": self.resource.api_version,
            "kind": self.resource.kind,
            "metadata": metadata,
            "spec": dict(spec),
        }

    def _seen(self, manifest: Manifest) -> Manifest:
        self.reflector.seen(manifest)
        return manifest

    def _index(self, before: Manifest | None, after: Manifest | None) -> None:
        was, now = (_annotation(manifest) if manifest is not None else None for manifest in (before, after))
        if before is not None and was is not None and was != now and self._annotated.get(was) == _uid_of(before):
            del self._annotated[was]
        if after is not None and now is not None:
            self._annotated.setdefault(now, _uid_of(after))


API_MANAGER = "managed-agents-api"
"""Field manager of what the API writes, and the label of what it created."""


def name_for(title: str, kind: str, suffix: str) -> str:
    """Make `repair-bot-x7k2pq` of `Repair Bot!`: a name of Kubernetes, at most 40 characters."""
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or kind.lower()
    return f"{slug[: names.NAME_LENGTH_MAX - len(suffix) - 1].rstrip('-')}-{suffix}"


def _annotation(manifest: Manifest) -> str | None:
    return (manifest["metadata"].get("annotations") or {}).get(names.ANNOTATION_ID)


def _uid_of(manifest: Manifest) -> str:
    return str(manifest["metadata"]["uid"])


def _uid_in(object_id: str, prefix: str) -> str | None:
    """Return the UID that an id was derived from, null for one that was not."""
    digits = object_id.removeprefix(f"{prefix}_")
    if digits == object_id or not re.fullmatch(r"[0-9a-f]{32}", digits):
        return None
    return str(UUID(hex=digits))
