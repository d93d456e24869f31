"""Keeps a namespace's warm sandboxes. Thin: read cache and server, ask the pure core, run what it wants."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import assert_never

import structlog

from managed_agents.contracts import names
from managed_agents.contracts.api import conditions
from managed_agents.contracts.api.environments import environment_id_of
from managed_agents.contracts.clock import Clock, parse_rfc3339
from managed_agents.contracts.errors import ConflictError, ManagedAgentsError, NotFoundError, RejectedError
from managed_agents.kube.client import Kube
from managed_agents.kube.errors import AlreadyExistsError, ForbiddenError
from managed_agents.kube.resources import CLAIMS, ENVIRONMENTS, PODS, SESSIONS, Manifest, Resource
from managed_agents.operator.actions import Announce, DeleteChild, EnsureNamespace
from managed_agents.operator.apply import ClusterEffects
from managed_agents.operator.cache import Cache
from managed_agents.operator.packages.spec import is_installed, wanted_digest
from managed_agents.operator.pools.demand import Demand
from managed_agents.operator.pools.quantities import Requests
from managed_agents.operator.pools.sandboxes import (
    AddSandbox,
    DropPool,
    Found,
    MakeSandbox,
    ReportWarm,
    RetireSandbox,
    SandboxPool,
    ServerView,
    TellPool,
    WarmAction,
    WarmRecord,
    decide_sandboxes,
)
from managed_agents.operator.pools.sandboxes_pods import sandbox_pool_name_for, warm_claim_for, warm_pod_for
from managed_agents.operator.pools.sizing import Bounds, Size, size_for
from managed_agents.operator.pools.standing import Counts, Standing
from managed_agents.operator.server_api import ServerApi
from managed_agents.operator.sessions.model import Memory, is_paused
from managed_agents.operator.sessions.pod_state import read_pod
from managed_agents.operator.sessions.sandbox_pods import sandbox_pod_spec
from managed_agents.operator.settings import SessionSettings

PACKAGES_RECHECK_SECONDS = 3.0
"""While an Environment's packages are being installed; its status is no event of ours."""

SETTLING_RECHECK_SECONDS = 2.0
"""Until the server is asked again what has become free, for the Environment's status."""

REFUSED_RETRY_SECONDS = 30.0
"""A quota or an admission policy: neither tells when it has changed its mind."""


COLLECT_SECONDS = 600.0
"""How long what nobody asks for any more may stay: records of a namespace that is gone, objects that a crash left."""


class SandboxPoolsReconciler:
    """Reconciles the warm sandboxes of one namespace at a time."""

    def __init__(
        self,
        kube: Kube,
        cache: Cache,
        cluster: ClusterEffects,
        server: ServerApi,
        demand: Demand,
        standing: Standing,
        *,
        clock: Clock,
        settings: SessionSettings,
    ) -> None:
        self._kube = kube
        self._cache = cache
        self._cluster = cluster
        self._server = server
        self._demand = demand
        self._standing = standing
        self._clock = clock
        self._settings = settings
        self._filled: set[str] = set()
        self._look = asyncio.Event()
        self._log = structlog.get_logger()

    def forget_server(self) -> None:
        """Ask the server anew what it has: it may have been restored from a backup."""
        self._look.set()

    async def run(self, add: Callable[[str], None]) -> None:
        """Collect now, at each interval and whenever the server may be another one, until cancelled."""
        while True:
            self._look.clear()
            try:
                await self.collect(add)
            except ManagedAgentsError as failure:
                self._log.warning("warm_sandboxes_not_listed", error=failure.message)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(COLLECT_SECONDS):
                    await self._look.wait()

    async def collect(self, add: Callable[[str], None]) -> None:
        """Have each namespace reconciled that has anything of a pool, at the server or in the cluster."""
        self._filled |= set(await self._server.warm_namespaces())
        objects = [
            item
            for pool in self._cache.values_of(names.LABEL_POOL)
            for resource in (PODS, CLAIMS)
            for item in self._cache.labelled(resource, names.LABEL_POOL, pool)
        ]
        for namespace in {*self._filled, *(item["metadata"]["namespace"] for item in objects)}:
            add(namespace)

    async def reconcile(self, namespace: str, environments: Sequence[Manifest]) -> float | None:
        """Bring the sandboxes of a namespace to what its Environments say; returns when to look again.

        Raises: RetryableError.
        """
        asking = [item for item in environments if Bounds.of(item["spec"].get("sandbox")).most > 0]
        found = self._found(namespace)  # before the records: each Pod had its record first
        if not asking and not found.pods and not found.claims and namespace not in self._filled:
            return None
        view = ServerView.parse(await self._server.warm_sandboxes(namespace))
        found = await self._completed(namespace, view, found)
        sizes = {item["metadata"]["name"]: self._size(namespace, item) for item in asking if not is_paused(item)}
        pools = [self._pool(item, sizes[item["metadata"]["name"]]) for item in asking if not is_paused(item)]
        paused = [environment_id_of(item) for item in environments if is_paused(item)]
        decision = decide_sandboxes(pools, paused, view, found)
        is_refused = await self._apply(namespace, decision.actions)
        self._note(namespace, environments, pools, decision.free)
        self._filled.add(namespace)
        if not asking and not view.pools and not view.records:
            self._filled.discard(namespace)
        rechecks = [size.recheck_seconds for size in sizes.values()]
        rechecks.append(REFUSED_RETRY_SECONDS if is_refused else None)
        rechecks.append(SETTLING_RECHECK_SECONDS if decision.is_settling else None)
        waits = any(pool.wanted > 0 and not pool.can_start for pool in pools)
        rechecks.append(PACKAGES_RECHECK_SECONDS if waits else None)
        return min((seconds for seconds in rechecks if seconds is not None), default=None)

    def _pool(self, environment: Manifest, size: Size) -> SandboxPool:
        return SandboxPool(
            environment=environment,
            name=sandbox_pool_name_for(environment, self._settings),
            wanted=size.wanted,
            packages=wanted_digest(environment, self._settings),
            can_start=is_installed(environment, self._settings),
        )

    def _size(self, namespace: str, environment: Manifest) -> Size:
        name = environment["metadata"]["name"]
        takes = [
            take.at
            for take in self._demand.takes(namespace, "sandbox")
            if self._environment_of(namespace, take.session) == name
        ]
        uses = [parse_rfc3339(environment["metadata"]["creationTimestamp"])]
        uses += [moment for moment in [self._demand.last_use(namespace)] if moment is not None]
        return size_for(Bounds.of(environment["spec"].get("sandbox")), takes, max(uses), self._clock.now())

    def _environment_of(self, namespace: str, session: str) -> str | None:
        manifest = self._cache.get(SESSIONS, namespace, session)
        return None if manifest is None else str(manifest["spec"]["environmentRef"]["name"])

    def _found(self, namespace: str) -> Found:
        now = self._clock.now()
        pods = {pod["metadata"]["name"]: read_pod(pod, now) for pod in self._pooled(PODS, namespace)}
        claims = {
            claim["metadata"]["name"]: str(claim["metadata"]["uid"])
            for claim in self._pooled(CLAIMS, namespace)
            if not claim["metadata"].get("deletionTimestamp")
        }
        return Found(pods=pods, claims=claims)

    def _pooled(self, resource: Resource, namespace: str) -> list[Manifest]:
        return [
            item
            for pool in sorted(self._cache.values_of(names.LABEL_POOL))
            for item in self._cache.labelled(resource, names.LABEL_POOL, pool)
            if item["metadata"]["namespace"] == namespace
            and item["metadata"]["labels"].get(names.LABEL_COMPONENT) == names.COMPONENT_SANDBOX
        ]

    async def _completed(self, namespace: str, view: ServerView, found: Found) -> Found:
        """Look live for each Pod that the server knows and the cache lacks: none is retired from a stale view."""
        pods = dict(found.pods)
        for record in view.records:
            if record.pod_uid is None or record.pod_name in pods:
                continue
            try:
                pod = await self._kube.get(PODS, namespace, record.pod_name)
            except NotFoundError:
                continue
            self._cache.put(PODS, pod)
            if names.LABEL_POOL in (pod["metadata"].get("labels") or {}):  # else a session has it: a restored server
                pods[record.pod_name] = read_pod(pod, self._clock.now())
        return Found(pods=pods, claims=found.claims)

    async def _apply(self, namespace: str, actions: Sequence[WarmAction]) -> bool:
        """Run each action for itself; tell whether the cluster refused one for its own reasons.

        A conflict is a session that was faster: its own reconcile sees to what it took.
        """
        is_refused = False
        for action in actions:
            try:
                await self._run(namespace, action)
            except (ConflictError, NotFoundError) as taken:
                self._log.info("warm_sandbox_taken", namespace=namespace, error=taken.message)
            except RejectedError as refusal:
                self._log.warning("warm_sandbox_refused", namespace=namespace, error=refusal.message)
                is_refused = True
                await self._tell_refusal(action, refusal)
        return is_refused

    async def _tell_refusal(self, action: WarmAction, refusal: RejectedError) -> None:
        """Say on the Environment why it lacks a sandbox: `status.warm` shows only that it does."""
        if not isinstance(action, AddSandbox | MakeSandbox):
            return
        is_quota = isinstance(refusal, ForbiddenError) and refusal.is_quota
        told = Announce(
            resource=ENVIRONMENTS,
            owner=action.pool.environment,
            reason=conditions.QUOTA_EXCEEDED if is_quota else conditions.REFUSED,
            message=f"a warm sandbox cannot be made: {refusal.message}",
            fingerprint=action.pool.name,
        )
        await self._cluster.run(told, Memory())

    async def _run(self, namespace: str, action: WarmAction) -> None:
        match action:
            case TellPool(environment=environment, generation=generation, pool=pool):
                await self._server.put_sandbox_pool(namespace, environment, generation, pool)
            case DropPool(environment=environment):
                await self._server.drop_sandbox_pool(namespace, environment)
            case AddSandbox(pool=sandbox_pool):
                await self._make(namespace, sandbox_pool, await self._add(namespace, sandbox_pool))
            case MakeSandbox(pool=sandbox_pool, record=record):
                await self._make(namespace, sandbox_pool, record)
            case ReportWarm(pod_name=pod_name, pod_uid=pod_uid, address=address):
                await self._server.report_warm_sandbox(namespace, pod_name, pod_uid, address)
            case RetireSandbox():
                await self._retire(namespace, action)
            case _:
                assert_never(action)

    async def _add(self, namespace: str, pool: SandboxPool) -> WarmRecord:
        wanted = {
            "namespace": namespace,
            "environment": pool.environment_id,
            "name": pool.environment["metadata"]["name"],
            "pool": pool.name,
            "has_claim": pool.has_claim,
            "packages": pool.packages,
        }
        return WarmRecord(**await self._server.add_warm_sandbox(wanted))

    async def _make(self, namespace: str, pool: SandboxPool, record: WarmRecord) -> None:
        """Make the objects of a record. One that is there is of an earlier attempt: nobody else has its name."""
        if not self._cluster.is_namespace_ready(namespace):
            await self._cluster.run(EnsureNamespace(namespace=namespace), Memory())
        if record.has_claim:
            await self._create(CLAIMS, warm_claim_for(pool.environment, pool.name, pod_name=record.pod_name))
        pod = warm_pod_for(
            pool.environment,
            pool.name,
            pod_name=record.pod_name,
            token_sha256=record.token_sha256,
            settings=self._settings,
        )
        await self._create(PODS, pod)

    async def _create(self, resource: Resource, manifest: Manifest) -> None:
        try:
            self._cache.put(resource, await self._cluster.create(resource, manifest))
        except AlreadyExistsError as there:
            self._log.info("warm_sandbox_there", name=manifest["metadata"]["name"], error=there.message)

    async def _retire(self, namespace: str, retired: RetireSandbox) -> None:
        """Delete only what the server has let go, and keep the claim that a session works in."""
        is_workspace = await self._server.retire_warm_sandbox(namespace, retired.pod_name)
        going = [(PODS, retired.pod_uid), (CLAIMS, None if is_workspace else retired.claim_uid)]
        for resource, uid in going:
            if uid is not None:
                gone = DeleteChild(resource=resource, namespace=namespace, name=retired.pod_name, uid=uid)
                await self._cluster.run(gone, Memory())

    def _note(
        self, namespace: str, environments: Sequence[Manifest], pools: Sequence[SandboxPool], free: Mapping[str, int]
    ) -> None:
        wanted = {str(pool.environment["metadata"]["name"]): pool for pool in pools}
        for environment in environments:
            name = environment["metadata"]["name"]
            if is_paused(environment):
                continue
            pool = wanted.get(name)
            counts = None if pool is None else self._counts(pool, free.get(name, 0))
            self._standing.note(namespace, [name], "sandbox", counts)

    def _counts(self, pool: SandboxPool, free: int) -> Counts:
        spec = sandbox_pod_spec(pool.environment, token_sha256="", claim="", settings=self._settings)
        return Counts(wanted=pool.wanted, ready=free, requests=Requests.of_pod(spec).times(pool.wanted))
