"""The API keys of all namespaces, known by their hashes alone (kind ApiKey)."""

import hashlib
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, field
from datetime import UTC

from managed_agents.contracts.clock import parse_rfc3339
from managed_agents.contracts.ids import API_KEY, id_for
from managed_agents.kube.resources import Manifest
from managed_agents.server.services.authenticator import Access

PREFIX = "sk-ma-"
"""What the keys of `scripts/api-key` begin with; such a credential is never shown to the kube-apiserver."""

READS = frozenset({"get", "list", "watch"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """One key. `expires` is seconds since 1970, null for never."""

    id: str
    uid: str
    namespace: str
    name: str
    sha256: str
    is_read_only: bool
    expires: float | None
    created_at: str

    def is_expired(self, now: float) -> bool:
        """Tell whether the key has ended."""
        return self.expires is not None and now >= self.expires

    def permits(self, access: Access) -> bool:
        """Tell whether the key may do this: all in its own namespace, or only read there; never learn who sent what."""
        if access.namespace != self.namespace or access.subresource is not None:
            return False
        return access.verb in READS or not self.is_read_only


@dataclass(slots=True)
class ApiKeys:
    """Follows the objects of kind ApiKey: `changed` is a listener of their reflector. `changes` grows with each."""

    changes: int = 0
    _by_hash: dict[str, list[ApiKey]] = field(default_factory=dict)

    def __iter__(self) -> Iterator[ApiKey]:
        return iter([key for held in self._by_hash.values() for key in held])

    def changed(self, before: Manifest | None, after: Manifest | None) -> None:
        """Take a change over: a deleted key is unknown from now on."""
        for known in (before, after):
            if known is not None:
                self._forget(known["metadata"]["uid"], known["spec"].get("sha256"))
        if after is not None and not after["metadata"].get("deletionTimestamp"):
            self._add(key_from(after))

    def recall(self, keys: Iterable[ApiKey]) -> None:
        """Take keys as an earlier process knew them, where nothing newer is known."""
        known = {key.uid for key in self}
        for key in keys:
            if key.uid not in known:
                self._add(key)

    def retain(self, uids: Set[str]) -> None:
        """Forget every other key."""
        for key in self:
            if key.uid not in uids:
                self._forget(key.uid, key.sha256)

    def find(self, credential: str) -> ApiKey | None:
        """Return the key that a credential is, expired or not.

        The look-up is by hash, so its time tells nothing of any key. Where two objects hold one hash, the older one
        counts: who copies a hash into a namespace of theirs gets nobody's requests.
        """
        held = self._by_hash.get(hashlib.sha256(credential.encode("utf-8", "surrogateescape")).hexdigest())
        return held[0] if held else None

    def _add(self, key: ApiKey) -> None:
        held = self._by_hash.setdefault(key.sha256, [])
        held.append(key)
        held.sort(key=lambda item: (item.created_at, item.uid))
        self.changes += 1

    def _forget(self, uid: str, sha256: object) -> None:
        left = [key for key in self._by_hash.pop(str(sha256), []) if key.uid != uid]
        if left:
            self._by_hash[str(sha256)] = left
        self.changes += 1


def key_from(manifest: Manifest) -> ApiKey:
    """Read a key from its object. An expiry that cannot be read has passed."""
    metadata, spec = manifest["metadata"], manifest["spec"]
    return ApiKey(
        id=id_for(API_KEY, metadata["uid"]),
        uid=metadata["uid"],
        namespace=metadata["namespace"],
        name=metadata["name"],
        sha256=str(spec.get("sha256")),
        is_read_only=spec.get("readOnly") is True,
        expires=_expires(spec.get("expiresAt")),
        created_at=str(metadata.get("creationTimestamp")),
    )


def _expires(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        moment = parse_rfc3339(text)
    except ValueError:
        return 0.0
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
