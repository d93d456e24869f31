"""Reconciles what Sessions refer to: versions of Agents, verdicts on Environments, keys of ModelProviders.

Thin: read, ask the pure core, apply. Called by kopf's handlers and, when a reference changes, by our queue.
"""

from collections.abc import Iterable

from managed_agents.contracts import names
from managed_agents.contracts.api import conditions
from managed_agents.contracts.api.agents import LABEL_AGENT_UID, agent_id_of, next_revision, snapshot_for
from managed_agents.contracts.api.agents import unsupported_fields as unsupported_agent
from managed_agents.contracts.api.environments import environment_id_of
from managed_agents.contracts.api.mcp_servers import problems
from managed_agents.contracts.api.model_providers import ProviderProblem, choose_provider
from managed_agents.contracts.clock import Clock
from managed_agents.contracts.errors import NotFoundError
from managed_agents.kube.client import Kube
from managed_agents.kube.errors import AlreadyExistsError, ForbiddenError
from managed_agents.kube.resources import (
    AGENTS,
    ENVIRONMENTS,
    MODEL_PROVIDERS,
    PODS,
    REVISIONS,
    SECRETS,
    Manifest,
    Resource,
)
from managed_agents.operator.apply import ClusterEffects
from managed_agents.operator.cache import Cache
from managed_agents.operator.catalog.environments import not_supported_message
from managed_agents.operator.catalog.environments import unsupported_fields as unsupported_environment
from managed_agents.operator.catalog.providers import (
    SecretReading,
    access_denied,
    holds_document,
    providers_document,
    providers_secret_for,
    read_key,
)
from managed_agents.operator.catalog.status import CatalogStatus, not_ready, valid
from managed_agents.operator.conditions import Condition
from managed_agents.operator.packages.reconciler import PackagesReconciler
from managed_agents.operator.packages.spec import STATUS_DIGEST
from managed_agents.operator.pools.standing import Standing

SECRETS_POLL_SECONDS = 20.0
"""A rotated key reaches the proxies within 60 s (guarantee F23) without the right to watch Secrets."""

VERSION_ATTEMPTS_MAX = 3

ANNOTATION_PROVIDERS = f"{names.GROUP}/providers-hash"
"""A changed annotation makes the kubelet refresh the Pod's Secret volumes at once (design §3)."""


class CatalogReconciler:
    """Brings Agents, Environments and ModelProviders to what they say."""

    def __init__(
        self,
        kube: Kube,
        cache: Cache,
        cluster: ClusterEffects,
        packages: PackagesReconciler,
        standing: Standing,
        *,
        clock: Clock,
    ) -> None:
        self._standing = standing
        self._kube = kube
        self._cache = cache
        self._cluster = cluster
        self._packages = packages
        self._status = CatalogStatus(cluster, clock)

    async def agent(self, namespace: str, name: str) -> None:
        """Keep each version of an Agent, and say whether its model is served."""
        agent = await self._live(AGENTS, namespace, name)
        if agent is None or await self._status.paused(AGENTS, agent):
            return
        versioned = await self._version(agent)
        if versioned is None:
            return
        agent, version = versioned
        providers = self._cache.in_namespace(MODEL_PROVIDERS, namespace)
        status = {"id": agent_id_of(agent), "version": version}
        await self._status.write(AGENTS, agent, status, _agent_condition(agent, providers))

    async def environment(self, namespace: str, name: str) -> float | None:
        """See to an Environment's packages and say whether it can be used; returns when to look again."""
        environment = await self._live(ENVIRONMENTS, namespace, name)
        if environment is None or await self._status.paused(ENVIRONMENTS, environment):
            return None
        status: dict[str, object] = {"id": environment_id_of(environment)}
        if fields := unsupported_environment(environment):
            await self._status.write(
                ENVIRONMENTS, environment, status, not_ready(conditions.NOT_SUPPORTED, not_supported_message(fields))
            )
            return None
        finding = await self._packages.see_to(environment)
        if finding.digest is not None:
            status[STATUS_DIGEST] = finding.digest
        if (warm := self._standing.status_of(namespace, name)) is not None:
            status["warm"] = warm
        ready = valid() if finding.reason is None else not_ready(finding.reason, finding.message)
        await self._status.write(ENVIRONMENTS, environment, status, ready)
        return finding.requeue_after

    async def providers(self, namespace: str) -> float | None:
        """Rebuild the namespace's `ma-providers`; returns when to read the Secrets again."""
        providers = await self._kube.list(MODEL_PROVIDERS, namespace=namespace)
        live = [item for item in providers if not item["metadata"].get("deletionTimestamp")]
        readings = [(provider, await self._reading(provider)) for provider in live]
        denied = await self._keep_secret(namespace, readings)
        for provider, reading in readings:
            if await self._status.paused(MODEL_PROVIDERS, provider):
                continue
            problem = reading.problem or (access_denied(provider).problem if denied else None)
            ready = not_ready(problem.reason, problem.message) if problem else valid()
            await self._status.write(MODEL_PROVIDERS, provider, {}, ready)
        return SECRETS_POLL_SECONDS if live else None

    async def _version(self, agent: Manifest) -> tuple[Manifest, int] | None:
        """Create the next version if the Agent says something new; return its newest state with its version.

        The versions are listed before the Agent is read, so its state is newer than all of them: the server makes
        versions too, and a stale view must not become a newer version than its. A rival's version is looked at again.
        """
        metadata = agent["metadata"]
        selector = f"{LABEL_AGENT_UID}={metadata['uid']}"
        for _ in range(VERSION_ATTEMPTS_MAX):
            revisions = await self._kube.list(REVISIONS, namespace=metadata["namespace"], labels=selector)
            newest = await self._live(AGENTS, metadata["namespace"], metadata["name"])
            if newest is None or newest["metadata"]["uid"] != metadata["uid"]:
                return None
            wanted = next_revision(newest, revisions)
            if wanted is None:
                return newest, max(int(revision["revision"]) for revision in revisions)
            try:
                await self._cluster.create(REVISIONS, wanted)
            except AlreadyExistsError:
                continue
            return newest, int(wanted["revision"])
        raise AlreadyExistsError(f'Agent "{metadata["name"]}": somebody else creates its versions')

    async def _reading(self, provider: Manifest) -> SecretReading:
        reference = provider["spec"]["apiKey"]["secretKeyRef"]
        try:
            return read_key(
                provider, await self._kube.get(SECRETS, provider["metadata"]["namespace"], reference["name"])
            )
        except NotFoundError:
            return read_key(provider, None)
        except ForbiddenError:
            return access_denied(provider)

    async def _keep_secret(self, namespace: str, readings: Iterable[tuple[Manifest, SecretReading]]) -> bool:
        """Write, or with the last provider delete, the Secret of the proxies; tell whether that is forbidden."""
        listed = list(readings)
        document = providers_document(listed)
        try:
            existing = await self._secret(namespace)
            if not listed:
                if existing is not None and _is_ours(existing):
                    await self._cluster.remove(SECRETS, existing)
                return False
            if holds_document(existing, document):
                return False
            await self._cluster.apply_uncached(SECRETS, providers_secret_for(namespace, document))
        except ForbiddenError:
            return True
        await self._nudge(namespace, names.short_hash(document.decode(), 12))
        return False

    async def _secret(self, namespace: str) -> Manifest | None:
        try:
            return await self._kube.get(SECRETS, namespace, names.PROVIDERS_SECRET)
        except NotFoundError:
            return None

    async def _nudge(self, namespace: str, digest: str) -> None:
        for pod in self._cache.in_namespace(PODS, namespace):
            is_harness = pod["metadata"]["labels"].get(names.LABEL_COMPONENT) == names.COMPONENT_HARNESS
            if is_harness and not pod["metadata"].get("deletionTimestamp"):
                await self._cluster.annotate(PODS, pod, {ANNOTATION_PROVIDERS: digest})

    async def _live(self, resource: Resource, namespace: str, name: str) -> Manifest | None:
        try:
            manifest = await self._kube.get(resource, namespace, name)
        except NotFoundError:
            return None
        self._cache.put(resource, manifest)
        return None if manifest["metadata"].get("deletionTimestamp") else manifest


def _agent_condition(agent: Manifest, providers: list[Manifest]) -> Condition:
    snapshot = snapshot_for(agent, 0)
    fields = unsupported_agent(snapshot)
    if fields:
        return not_ready(conditions.NOT_SUPPORTED, not_supported_message(fields))
    problem = next(problems(snapshot["tools"], snapshot["mcp_servers"]), None)
    if problem is not None:
        return not_ready(conditions.MCP_SERVERS_INVALID, str(problem))
    provider = choose_provider(providers, agent["spec"]["model"]["id"])
    if isinstance(provider, ProviderProblem):
        return not_ready(provider.reason, provider.message)
    text = f'ModelProvider "{provider["metadata"]["name"]}" serves model "{agent["spec"]["model"]["id"]}"'
    return Condition(kind=conditions.READY, is_true=True, reason=conditions.MODEL_SERVED, message=text)


def _is_ours(manifest: Manifest) -> bool:
    return (manifest["metadata"].get("labels") or {}).get(names.LABEL_MANAGED_BY) == names.MANAGER
