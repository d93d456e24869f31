"""The custom resources that the API shows, followed by watch and kept in memory."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from managed_agents.contracts import ids
from managed_agents.kube.client import Kube
from managed_agents.kube.reflector import Reflector
from managed_agents.kube.resources import (
    AGENTS,
    API_KEYS,
    ENVIRONMENTS,
    MODEL_PROVIDERS,
    SESSIONS,
    VAULTS,
    Manifest,
    Resource,
)
from managed_agents.server.services.collection import Collection
from managed_agents.server.services.keyed_locks import KeyedLocks
from managed_agents.server.services.versions import Versions, versions_over

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


@dataclass(frozen=True, slots=True, kw_only=True)
class Objects:
    """Every kind that the API works with. `kube` writes as the field manager `managed-agents-api`."""

    kube: Kube
    agents: Collection
    environments: Collection
    sessions: Collection
    model_providers: Collection
    api_keys: Collection
    vaults: Collection
    versions: Versions
    """The immutable versions of Agents."""
    locks: KeyedLocks = field(default_factory=KeyedLocks)
    """Held while a unique name is looked for and taken, and while an Agent or the credentials of a Vault change."""

    @property
    def collections(self) -> tuple[Collection, ...]:
        """Return all kinds."""
        return (self.agents, self.environments, self.sessions, self.model_providers, self.api_keys, self.vaults)

    @property
    def synced(self) -> bool:
        """Tell whether every kind has been read once."""
        return all(reflector.synced.is_set() for reflector in self._reflectors)

    @property
    def _reflectors(self) -> tuple[Reflector, ...]:
        return (*(collection.reflector for collection in self.collections), self.versions.reflector)

    async def wait_synced(self) -> None:
        """Wait until every kind has been read once."""
        for reflector in self._reflectors:
            await reflector.synced.wait()

    @contextlib.asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Follow the kinds until the block ends. A kube-apiserver that is away is tried again without end."""
        tasks = [asyncio.create_task(reflector.run()) for reflector in self._reflectors]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def objects_over(kube: Kube) -> Objects:
    """Wire the kinds onto a client; nothing is read before `following`."""
    return Objects(
        kube=kube,
        agents=_collection(kube, AGENTS, ids.AGENT),
        environments=_collection(kube, ENVIRONMENTS, ids.ENVIRONMENT),
        sessions=_collection(kube, SESSIONS, ids.SESSION, shrunk_session),
        model_providers=_collection(kube, MODEL_PROVIDERS, "modelprovider"),
        api_keys=_collection(kube, API_KEYS, ids.API_KEY),
        vaults=_collection(kube, VAULTS, ids.VAULT),
        versions=versions_over(kube),
    )


def shrunk_session(session: Manifest) -> Manifest:
    """Drop also what the event log knows better: messages, delivered and last. There may be many Sessions."""
    kept = shrunk(session)
    kept["spec"] = {key: value for key, value in session["spec"].items() if key != "events"}
    if "status" in session:
        status = session["status"] or {}
        kept["status"] = {key: value for key, value in status.items() if key not in ("events", "lastMessage")}
    return kept


def _collection(
    kube: Kube, resource: Resource, prefix: str, shrink: Callable[[Manifest], Manifest] | None = None
) -> Collection:
    reflector = Reflector(kube=kube, resource=resource, shrink=shrink or shrunk)
    return Collection(kube=kube, reflector=reflector, prefix=prefix)


def shrunk(manifest: Manifest) -> Manifest:
    """Drop what no reader needs: which manager owns which field (who writes reads it anew), and kubectl's copy.

    Of the managers stays when each last wrote the spec, from which `updated_at` follows.
    """
    metadata = dict(manifest["metadata"])
    written = [entry for entry in metadata.pop("managedFields", None) or [] if "f:spec" in entry.get("fieldsV1", {})]
    metadata["managedFields"] = [{key: entry.get(key) for key in ("manager", "time")} for entry in written]
    annotations = metadata.get("annotations") or {}
    if LAST_APPLIED in annotations:
        metadata["annotations"] = {key: value for key, value in annotations.items() if key != LAST_APPLIED}
    return {**manifest, "metadata": metadata}
