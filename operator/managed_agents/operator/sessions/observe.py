"""Gathers what a decision about one Session needs: from the cache, and live where a stale view would do harm.

Live reads: a reference that the cache lacks (the watches of several kinds have no common order), the Agent whose
newest version is about to be pinned, a claimed sandbox that seems to be gone, and the proof that nothing is left.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from managed_agents.contracts import names
from managed_agents.contracts.api.agents import revision_name_for
from managed_agents.contracts.clock import Clock
from managed_agents.contracts.errors import NotFoundError
from managed_agents.kube.client import Kube
from managed_agents.kube.resources import (
    AGENTS,
    CONFIG_MAPS,
    DEPLOYMENTS,
    ENVIRONMENTS,
    MODEL_PROVIDERS,
    PODS,
    REVISIONS,
    VAULTS,
    Manifest,
    Resource,
)
from managed_agents.operator.cache import Cache
from managed_agents.operator.catalog.environments import config_map_names
from managed_agents.operator.chains import Chains
from managed_agents.operator.sessions.admit import pinned_version
from managed_agents.operator.sessions.harness_pods import is_warm_made, runs_our_containers
from managed_agents.operator.sessions.metadata import is_owned_by, session_selector
from managed_agents.operator.sessions.model import Catalog, HarnessPod, Memory, Observed, session_id_of
from managed_agents.operator.sessions.pod_state import read_deployment, read_pod
from managed_agents.operator.sessions.sandbox_objects import SandboxObjects, from_pool
from managed_agents.operator.sessions.tokens import TokenFindings
from managed_agents.operator.settings import SessionSettings
from managed_agents.operator.summaries import Summaries, Summary
from managed_agents.operator.watched import CHILDREN

REMEMBERED_MAX = 1024
"""Agent versions kept; they are immutable."""


class Observer:
    """Builds `Observed` values."""

    def __init__(
        self,
        kube: Kube,
        cache: Cache,
        summaries: Summaries,
        chains: Chains,
        tokens: TokenFindings,
        *,
        clock: Clock,
        settings: SessionSettings,
    ) -> None:
        self._kube = kube
        self._cache = cache
        self._summaries = summaries
        self._clock = clock
        self._settings = settings
        self._snapshots: OrderedDict[tuple[str, str], Mapping[str, Any]] = OrderedDict()
        self._chains = chains
        self._tokens = tokens
        self._sandboxes = SandboxObjects(kube, cache)

    async def observe(self, session: Manifest, memory: Memory, *, is_namespace_ready: bool) -> Observed:
        """Observe a Session. Raises: RetryableError when a live read fails."""
        namespace, uid = session["metadata"]["namespace"], session["metadata"]["uid"]
        summary = self._summaries.get(session_id_of(session))
        sandbox_pods = await self._sandboxes.pods(namespace, uid, summary)
        claims = self._sandboxes.claims(namespace, uid, summary)
        owned = [item for item in self._cache.children(DEPLOYMENTS, uid) if is_owned_by(item, uid)]
        leased = self._leased_deployment(namespace, summary)
        deployment, spare = chosen_deployment(owned, leased, self._holder(summary))
        return Observed(
            session=session,
            catalog=await self._catalog(session, summary),
            summary=summary,
            deployment=deployment,
            spare_deployments=spare,
            adoptable=tuple(self._adoptable(uid, deployment)),
            deployment_problem=None if deployment is None else read_deployment(deployment),
            harness_pods=await self._harness_pods(uid, namespace, deployment),
            sandbox_pods=tuple(read_pod(pod, self._clock.now()) for pod in sandbox_pods),
            claims=tuple(claims),
            from_pool=from_pool(uid, sandbox_pods, claims),
            is_namespace_ready=is_namespace_ready,
            is_clean=await self._is_clean(session, memory),
            memory=memory,
            settings=self._settings,
            tokens=self._tokens.of(namespace, uid),
        )

    def _leased_deployment(self, namespace: str, summary: Summary | None) -> Manifest | None:
        """Return the warm Deployment that the server leased to the session, adopted or not."""
        if summary is None or summary.harness is None:
            return None
        found = self._cache.get(DEPLOYMENTS, namespace, summary.harness.deployment_name)
        is_it = found is not None and found["metadata"]["uid"] == summary.harness.deployment_uid
        return found if is_it else None

    def _holder(self, summary: Summary | None) -> str | None:
        """Return the UID of the Deployment whose Pod is known to hold the lease."""
        pod_uid = None if summary is None else summary.lease_pod_uid
        if summary is None or pod_uid is None:
            return None
        if summary.harness is not None and summary.harness.pod_uid == pod_uid:
            return summary.harness.deployment_uid
        return self._chains.known(pod_uid)

    def _adoptable(self, uid: str, deployment: Manifest | None) -> Iterator[tuple[Resource, Manifest]]:
        if deployment is None or not is_warm_made(deployment):
            return
        if not is_owned_by(deployment, uid):
            yield DEPLOYMENTS, deployment
        metadata = deployment["metadata"]
        for pod in self._cache.labelled(PODS, names.LABEL_HARNESS, metadata["name"]):
            is_there = pod["metadata"]["namespace"] == metadata["namespace"] and not pod["metadata"].get(
                "deletionTimestamp"
            )
            if is_there and pod["metadata"]["labels"].get(names.LABEL_SESSION_UID) != uid:
                yield PODS, pod

    async def _catalog(self, session: Manifest, summary: Summary | None) -> Catalog:
        if session["metadata"].get("deletionTimestamp"):
            return Catalog()
        namespace, spec = session["metadata"]["namespace"], session["spec"]
        is_new = summary is None
        agent = await self._agent(session, is_new=is_new)
        environment = await self._referenced(ENVIRONMENTS, namespace, spec["environmentRef"]["name"], is_new=is_new)
        providers = self._cache.in_namespace(MODEL_PROVIDERS, namespace)
        if is_new and not providers:
            providers = await self._kube.list(MODEL_PROVIDERS, namespace=namespace)
        needs_mounts = is_new or (
            summary is not None and summary.sandbox is not None and not summary.sandbox.is_claimed
        )
        return Catalog(
            agent=agent,
            snapshot=None if agent is None else await self._snapshot(session, agent),
            environment=environment,
            providers=tuple(providers),
            missing_config_maps=await self._missing_mounts(namespace, environment) if needs_mounts else (),
            vaults=await self._vaults(namespace, spec.get("vaultRefs") or (), is_new=is_new),
        )

    async def _vaults(
        self, namespace: str, references: Sequence[Mapping[str, str]], *, is_new: bool
    ) -> tuple[tuple[str, Manifest | None], ...]:
        found = []
        for reference in references:
            vault = await self._referenced(VAULTS, namespace, reference["name"], is_new=is_new)
            is_there = vault is not None and not vault["metadata"].get("deletionTimestamp")
            found.append((reference["name"], vault if is_there else None))
        return tuple(found)

    async def _agent(self, session: Manifest, *, is_new: bool) -> Manifest | None:
        namespace, reference = session["metadata"]["namespace"], session["spec"]["agentRef"]
        is_pinned = ((session.get("status") or {}).get("agent") or {}).get("version") or reference.get("version")
        if is_pinned or not is_new:
            return await self._referenced(AGENTS, namespace, reference["name"], is_new=is_new)
        return await self._live(AGENTS, namespace, reference["name"])

    async def _referenced(self, resource: Resource, namespace: str, name: str, *, is_new: bool) -> Manifest | None:
        cached = self._cache.get(resource, namespace, name)
        return await self._live(resource, namespace, name) if cached is None and is_new else cached

    async def _live(self, resource: Resource, namespace: str, name: str) -> Manifest | None:
        try:
            manifest = await self._kube.get(resource, namespace, name)
        except NotFoundError:
            return None
        self._cache.put(resource, manifest)
        return manifest

    async def _snapshot(self, session: Manifest, agent: Manifest) -> Mapping[str, Any] | None:
        version = pinned_version(session, agent)
        if version is None:
            return None
        namespace = session["metadata"]["namespace"]
        name = revision_name_for(agent["metadata"]["name"], agent["metadata"]["uid"], version)
        if (namespace, name) not in self._snapshots:
            try:
                revision = await self._kube.get(REVISIONS, namespace, name)
            except NotFoundError:
                return None
            if not is_owned_by(revision, agent["metadata"]["uid"]):
                return None
            _remember(self._snapshots, (namespace, name), revision["data"])
        return self._snapshots[namespace, name]

    async def _missing_mounts(self, namespace: str, environment: Manifest | None) -> tuple[str, ...]:
        missing = []
        for name in config_map_names(environment) if environment is not None else ():
            try:
                await self._kube.get(CONFIG_MAPS, namespace, name, metadata_only=True)
            except NotFoundError:
                missing.append(name)
        return tuple(missing)

    async def _harness_pods(self, uid: str, namespace: str, deployment: Manifest | None) -> tuple[HarnessPod, ...]:
        found = []
        for pod in self._pods(uid, names.COMPONENT_HARNESS):
            deployment_uid = None
            if deployment is not None and runs_our_containers(pod, deployment):
                chain = await self._chains.deployment_uid_of(namespace, pod)
                deployment_uid = chain if chain == deployment["metadata"]["uid"] else None
            found.append(HarnessPod(reading=read_pod(pod, self._clock.now()), deployment_uid=deployment_uid))
        return tuple(found)

    def _pods(self, uid: str, component: str) -> list[Manifest]:
        return [
            pod
            for pod in self._cache.children(PODS, uid)
            if pod["metadata"]["labels"].get(names.LABEL_COMPONENT) == component
        ]

    async def _is_clean(self, session: Manifest, memory: Memory) -> bool:
        metadata = session["metadata"]
        if not metadata.get("deletionTimestamp") or not memory.is_deleted_at_server:
            return False
        if any(self._cache.children(resource, metadata["uid"]) for resource in CHILDREN):
            return False
        selector = session_selector(metadata["uid"])
        left = []
        for resource in CHILDREN:
            for manifest in await self._kube.list(resource, namespace=metadata["namespace"], labels=selector):
                self._cache.put(resource, {"apiVersion": resource.api_version, "kind": resource.kind} | manifest)
                left.append(manifest)
        return not left


def _remember(known: OrderedDict[Any, Any], key: object, value: object) -> None:
    known[key] = value
    while len(known) > REMEMBERED_MAX:
        known.popitem(last=False)


def chosen_deployment(
    owned: Sequence[Manifest], leased: Manifest | None, holder: str | None
) -> tuple[Manifest | None, tuple[Manifest, ...]]:
    """Choose the Deployment that serves a session, and those that it need not keep.

    The one whose Pod holds the lease, else the warm one that was leased last, else any. Only while the lease is known
    to be held are the others spare: before, one of them may still be the first to come up.
    """
    candidates = {item["metadata"]["uid"]: item for item in (*owned, *((leased,) if leased else ()))}
    living = [item for item in candidates.values() if not item["metadata"].get("deletionTimestamp")]
    wanted = [holder, leased["metadata"]["uid"] if leased else None]
    first = next((candidates[uid] for uid in wanted if uid in candidates), None)
    chosen = first or next(iter(living), next(iter(candidates.values()), None))
    if chosen is None or chosen["metadata"]["uid"] != holder:
        return chosen, ()
    return chosen, tuple(item for item in living if item is not chosen)
