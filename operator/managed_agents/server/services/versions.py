"""The immutable versions of Agents, kept as ControllerRevisions, made by whoever comes first: operator or server.

In memory is which versions exist and what makes each distinct; contents are read when asked for.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

from managed_agents.contracts.api.agents import (
    ANNOTATION_DIGEST,
    LABEL_AGENT_UID,
    SERVICE_ACCOUNT,
    agent_id_of,
    digest_of,
    next_revision,
    revision_for,
    revision_name_for,
    snapshot_for,
)
from managed_agents.contracts.errors import NotFoundError, RetryableError
from managed_agents.kube.client import Kube
from managed_agents.kube.errors import AlreadyExistsError
from managed_agents.kube.reflector import Reflector
from managed_agents.kube.resources import AGENTS, REVISIONS, Manifest
from managed_agents.server.services.refusals import translated

VERSION_ATTEMPTS_MAX = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version: its number, and when it was made (RFC 3339)."""

    number: int
    created_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Versioned:
    """An Agent as it is, with the version that says exactly that."""

    agent: Manifest
    version: Version

    @property
    def snapshot(self) -> dict[str, Any]:
        """Return the version in API form."""
        return snapshot_for(self.agent, self.version.number)


@dataclass(slots=True, kw_only=True)
class Versions:
    """The versions of every Agent."""

    kube: Kube
    reflector: Reflector
    _known: dict[str, dict[int, Manifest]] = field(default_factory=dict)
    """Shrunk ControllerRevisions by number, by the Agent's UID."""
    _locks: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary)

    def __post_init__(self) -> None:
        self.reflector.listen(self._index)

    async def of(self, agent: Manifest) -> Versioned:
        """Return an Agent's newest state with its version, which is made if nobody has yet.

        `agent` may be a view from memory; where it does not match its newest version the Agent is read anew.
        Raises: NotFoundError when the Agent is gone, RetryableError.
        """
        uid = agent["metadata"]["uid"]
        newest = self._newest(uid)
        if newest is not None and _digest(newest) == digest_of(snapshot_for(agent, 0)):
            return Versioned(agent=agent, version=_version(newest))
        async with self._lock(uid):
            return await self._made(agent["metadata"]["namespace"], agent["metadata"]["name"], uid)

    async def first(self, agent: Manifest) -> Versioned:
        """Make the first version of an Agent that was just created.

        Where the kube-apiserver does not answer the operator will make it: what it says is known already.
        """
        made = revision_for(agent, 1)
        try:
            with translated():
                made = await self.kube.create(REVISIONS, agent["metadata"]["namespace"], made)
            self.reflector.seen(made)
        except AlreadyExistsError:
            return await self.of(agent)
        except RetryableError:
            made["metadata"]["creationTimestamp"] = agent["metadata"]["creationTimestamp"]
        return Versioned(agent=agent, version=_version(made))

    async def data(self, agent: Manifest, number: int) -> tuple[Version, dict[str, Any]]:
        """Return a version and its snapshot in API form. Raises: NotFoundError, RetryableError."""
        metadata = agent["metadata"]
        name = revision_name_for(metadata["name"], metadata["uid"], number)
        try:
            with translated():
                revision = await self.kube.get(REVISIONS, metadata["namespace"], name)
        except NotFoundError:
            raise NotFoundError(f"{agent_id_of(agent)} has no version {number}") from None
        return _version(revision), _data(revision)

    async def all(self, agent: Manifest) -> list[tuple[Version, dict[str, Any]]]:
        """Return every version with its snapshot, the newest first. Raises: RetryableError."""
        with translated():
            revisions = await self._listed(agent["metadata"]["namespace"], agent["metadata"]["uid"])
        found = [(_version(revision), _data(revision)) for revision in revisions]
        return sorted(found, key=lambda pair: pair[0].number, reverse=True)

    async def _made(self, namespace: str, name: str, uid: str) -> Versioned:
        """Make the version of the Agent's newest state, unless somebody has.

        The versions are listed before the Agent is read: so its state is newer than all of them, and a rival who
        makes the next version in between is met by its name.
        """
        with translated():
            for _ in range(VERSION_ATTEMPTS_MAX):
                revisions = await self._listed(namespace, uid)
                agent = await self._live(namespace, name, uid)
                wanted = next_revision(agent, revisions)
                if wanted is None:
                    newest = max(revisions, key=lambda revision: int(revision["revision"]))
                    self.reflector.seen(newest)
                    return Versioned(agent=agent, version=_version(newest))
                with contextlib.suppress(AlreadyExistsError):
                    made = await self.kube.create(REVISIONS, namespace, wanted)
                    self.reflector.seen(made)
                    return Versioned(agent=agent, version=_version(made))
        raise RetryableError(f"somebody else makes versions of Agent {name!r} all the time; try again")

    async def _listed(self, namespace: str, uid: str) -> list[Manifest]:
        return await self.kube.list(REVISIONS, namespace=namespace, labels=f"{LABEL_AGENT_UID}={uid}")

    async def _live(self, namespace: str, name: str, uid: str) -> Manifest:
        agent = await self.kube.get(AGENTS, namespace, name)
        if agent["metadata"]["uid"] != uid:
            raise NotFoundError(f"Agent {name!r} is gone; another one has its name")
        return agent

    def _newest(self, uid: str) -> Manifest | None:
        known = self._known.get(uid)
        return known[max(known)] if known else None

    def _index(self, before: Manifest | None, after: Manifest | None) -> None:
        if before is not None:
            known = self._known.get(_agent_uid(before), {})
            known.pop(int(before["revision"]), None)
            if not known:
                self._known.pop(_agent_uid(before), None)
        if after is not None:
            self._known.setdefault(_agent_uid(after), {})[int(after["revision"])] = after

    @contextlib.asynccontextmanager
    async def _lock(self, uid: str) -> AsyncIterator[None]:
        lock = self._locks.setdefault(uid, asyncio.Lock())
        async with lock:
            yield


def versions_over(kube: Kube) -> Versions:
    """Wire the versions onto a client."""
    return Versions(
        kube=kube, reflector=Reflector(kube=kube, resource=REVISIONS, labels=LABEL_AGENT_UID, shrink=_shrunk)
    )


def _shrunk(revision: Manifest) -> Manifest:
    """Keep what identifies a version; contents may be large and stay in Kubernetes."""
    metadata = revision["metadata"]
    kept = {key: metadata[key] for key in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")}
    kept["labels"] = {LABEL_AGENT_UID: _agent_uid(revision)}
    kept["annotations"] = {ANNOTATION_DIGEST: _digest(revision)}
    return {"metadata": kept, "revision": revision["revision"]}


def _agent_uid(revision: Mapping[str, Any]) -> str:
    return str(revision["metadata"]["labels"][LABEL_AGENT_UID])


def _digest(revision: Mapping[str, Any]) -> str:
    return str((revision["metadata"].get("annotations") or {}).get(ANNOTATION_DIGEST) or "")


def _version(revision: Mapping[str, Any]) -> Version:
    return Version(number=int(revision["revision"]), created_at=str(revision["metadata"]["creationTimestamp"]))


def _data(revision: Mapping[str, Any]) -> dict[str, Any]:
    return {"execution_identity": dict(SERVICE_ACCOUNT), **revision["data"]}
