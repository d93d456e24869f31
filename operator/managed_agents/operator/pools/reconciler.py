"""Keeps the warm pools of a namespace at their size. Thin: read the cache, ask the pure core, apply."""

from collections.abc import Callable, Iterable
from typing import cast

import structlog

from managed_agents.contracts import names
from managed_agents.contracts.api.environments import harness_image_of
from managed_agents.contracts.clock import Clock, parse_rfc3339
from managed_agents.contracts.errors import ConflictError, ManagedAgentsError, RejectedError
from managed_agents.kube.resources import DEPLOYMENTS, ENVIRONMENTS, PODS, SESSIONS, Manifest
from managed_agents.operator.actions import (
    Action,
    ClusterAction,
    CreateChild,
    DeleteChild,
    EnsureNamespace,
    OfferHarness,
    PoolAction,
    WithdrawHarness,
)
from managed_agents.operator.apply import ClusterEffects
from managed_agents.operator.cache import Cache
from managed_agents.operator.catalog.environments import unsupported_fields
from managed_agents.operator.chains import Chains
from managed_agents.operator.keys import Key
from managed_agents.operator.pools.demand import Demand
from managed_agents.operator.pools.harnesses import (
    HarnessPool,
    Member,
    decide_pool,
    harness_pools,
    withdrawals,
)
from managed_agents.operator.pools.quantities import Requests
from managed_agents.operator.pools.sandboxes_reconciler import REFUSED_RETRY_SECONDS, SandboxPoolsReconciler
from managed_agents.operator.pools.sizing import Bounds, Size, size_for
from managed_agents.operator.pools.standing import Counts, Standing
from managed_agents.operator.server_api import ServerApi
from managed_agents.operator.sessions.harness_pods import harness_pod_spec, runs_our_containers
from managed_agents.operator.sessions.model import Memory, is_paused
from managed_agents.operator.sessions.pod_state import read_pod
from managed_agents.operator.settings import SessionSettings
from managed_agents.operator.starts import Starts


class PoolsReconciler:
    """Reconciles the pools of one namespace at a time; callers see to it that no namespace runs twice at once."""

    def __init__(
        self,
        cache: Cache,
        cluster: ClusterEffects,
        server: ServerApi,
        chains: Chains,
        demand: Demand,
        standing: Standing,
        starts: Starts,
        sandboxes: SandboxPoolsReconciler,
        *,
        clock: Clock,
        settings: SessionSettings,
        new_serial: Callable[[], str],
        changed: Callable[[str, str], None],
    ) -> None:
        """`new_serial` makes names distinct; `changed` is told an Environment whose pools' counts are others now."""
        self._cache = cache
        self._cluster = cluster
        self._server = server
        self._chains = chains
        self._demand = demand
        self._clock = clock
        self._settings = settings
        self._new_serial = new_serial
        self._changed = changed
        self._offered: dict[str, dict[str, str]] = {}
        self._generations: dict[str, dict[str, int]] = {}
        self._standing = standing
        self._starts = starts
        self._in_line: set[str] = set()
        """Namespaces of which a pool waits for its turn to start one more."""
        self._sandboxes = sandboxes
        self._log = structlog.get_logger()

    def forget_server(self) -> None:
        """Offer everything again: the server may have been restored from a backup."""
        self._offered.clear()
        self._sandboxes.forget_server()

    async def reconcile(self, namespace: str) -> float | None:
        """Bring the pools of a namespace to their size; returns when to look again. Raises: RetryableError."""
        environments = self._environments(namespace)
        self._note_generations(namespace, environments)
        pools = {pool.name: pool for pool in harness_pools(environments)}
        members = await self._members(namespace)
        for name in members.keys() - pools.keys():  # nobody asks for it any more
            pools[name] = HarnessPool(image="", bounds=Bounds(least=0, most=0), environments=())
        asking = {_name_of(item) for pool in pools.values() for item in pool.environments}
        others = [name for name in map(_name_of, environments) if name not in asking]
        self._standing.note(namespace, others, "harness", None)
        self._in_line.discard(namespace)
        rechecks = [await self._harnesses(namespace, pool, members.get(name, [])) for name, pool in pools.items()]
        if namespace not in self._in_line:
            self._starts.leave(Key("Pools", namespace))
        rechecks.append(await self._sandboxes.reconcile(namespace, environments))
        rechecks.append(self._tell(namespace, environments))
        return min((seconds for seconds in rechecks if seconds is not None), default=None)

    def _environments(self, namespace: str) -> list[Manifest]:
        """Return the Environments that sessions can be made of; a paused one keeps its pools as they are."""
        return [
            environment
            for environment in self._cache.in_namespace(ENVIRONMENTS, namespace)
            if namespace != self._settings.system_namespace
            and not environment["metadata"].get("deletionTimestamp")
            and not environment["spec"].get("archived")
            and not unsupported_fields(environment)
        ]

    async def _members(self, namespace: str) -> dict[str, list[Member]]:
        """Return the unowned Deployments of the namespace by pool."""
        found: dict[str, list[Member]] = {}
        for pool in sorted(self._cache.values_of(names.LABEL_POOL)):
            for deployment in self._cache.labelled(DEPLOYMENTS, names.LABEL_POOL, pool):
                if deployment["metadata"]["namespace"] == namespace:
                    found.setdefault(pool, []).append(await self._member(namespace, deployment))
        return found

    async def _member(self, namespace: str, deployment: Manifest) -> Member:
        uid, now = deployment["metadata"]["uid"], self._clock.now()
        pods = [
            read_pod(pod, now)
            for pod in self._cache.labelled(PODS, names.LABEL_HARNESS, deployment["metadata"]["name"])
            if pod["metadata"]["namespace"] == namespace
            and runs_our_containers(pod, deployment)
            and await self._chains.deployment_uid_of(namespace, pod) == uid
        ]
        return Member(deployment=deployment, pods=tuple(pods), is_leased=self._demand.is_leased(uid))

    async def _harnesses(self, namespace: str, pool: HarnessPool, members: list[Member]) -> float | None:
        if any(is_paused(environment) for environment in pool.environments):
            return None
        size = self._size(namespace, pool)
        offered = self._offered.setdefault(namespace, {})
        decision = decide_pool(
            pool,
            members,
            namespace=namespace,
            wanted=size.wanted,
            offered=offered,
            serials=[self._new_serial() for _ in range(min(size.wanted, self._starts.room(namespace) + 1))],
            settings=self._settings,
        )
        groups = (*decision.groups, *((action,) for action in withdrawals(members, offered)))
        is_refused = await self._apply(namespace, groups)
        pod = Requests.of_pod(harness_pod_spec(pool.name, pool.image, self._settings))
        counts = Counts(wanted=decision.wanted, ready=decision.ready, requests=pod.times(decision.wanted))
        self._standing.note(namespace, map(_name_of, pool.environments), "harness", counts)
        return REFUSED_RETRY_SECONDS if is_refused else size.recheck_seconds

    def _size(self, namespace: str, pool: HarnessPool) -> Size:
        takes = [
            take.at
            for take in self._demand.takes(namespace, "harness")
            if self._image_of(namespace, take.session) == pool.image
        ]
        made = [parse_rfc3339(item["metadata"]["creationTimestamp"]) for item in pool.environments]
        uses = [*made, *(moment for moment in [self._demand.last_use(namespace)] if moment is not None)]
        now = self._clock.now()
        return size_for(pool.bounds, takes, max(uses, default=now), now)

    def _image_of(self, namespace: str, session: str) -> str | None:
        manifest = self._cache.get(SESSIONS, namespace, session)
        if manifest is None:
            return None
        environment = self._cache.get(ENVIRONMENTS, namespace, manifest["spec"]["environmentRef"]["name"])
        return None if environment is None else harness_image_of(environment)

    def _note_generations(self, namespace: str, environments: Iterable[Manifest]) -> None:
        """Somebody who changes an Environment is about to use it."""
        present = {str(item["metadata"]["uid"]): int(item["metadata"]["generation"]) for item in environments}
        known = self._generations.get(namespace, {})
        if any(known.get(uid, generation) != generation for uid, generation in present.items()):
            self._demand.used(namespace)
        self._generations[namespace] = present

    async def _apply(self, namespace: str, groups: Iterable[tuple[Action | PoolAction, ...]]) -> bool:
        """Run each group until its first failure; tell whether the cluster refused something for its own reasons.

        A conflict is a session that was faster: its own reconcile sees to what it took.
        """
        is_refused = False
        for group in groups:
            try:
                for action in group:
                    await self._run(namespace, action)
            except ConflictError as taken:
                self._log.info("pool_member_taken", namespace=namespace, error=taken.message)
            except RejectedError as refusal:
                self._log.warning("pool_refused", namespace=namespace, error=refusal.message)
                is_refused = True
        return is_refused

    async def _run(self, namespace: str, action: Action | PoolAction) -> None:
        offered = self._offered.setdefault(namespace, {})
        match action:
            case OfferHarness(pod_uid=pod_uid, deployment_uid=deployment_uid):
                try:
                    await self._server.offer_harness(action)
                except ConflictError:
                    await self._remove_used(namespace, action)
                    raise
                offered[pod_uid] = deployment_uid
            case WithdrawHarness(pod_uid=pod_uid, deployment_uid=deployment_uid):
                await self._server.withdraw_harness(action)
                for pod, owner in list(offered.items()):
                    if owner == deployment_uid and pod_uid in (None, pod):
                        del offered[pod]
            case CreateChild():
                await self._start(namespace, action)
            case _:
                await self._cluster.run(cast("ClusterAction", action), Memory())

    async def _start(self, namespace: str, action: CreateChild) -> None:
        """Make a Deployment, unless other harness Pods of the namespace start first: then its turn comes."""
        name = action.manifest["metadata"]["name"]
        if not self._starts.take(namespace, name, Key("Pools", namespace)):
            self._in_line.add(namespace)
            return
        try:
            if not self._cluster.is_namespace_ready(namespace):
                await self._cluster.run(EnsureNamespace(namespace=namespace), Memory())
            await self._cluster.run(action, Memory())
        except ManagedAgentsError:
            self._starts.end(namespace, name)
            raise

    async def _remove_used(self, namespace: str, offer: OfferHarness) -> None:
        """A Deployment that served a session before it was adopted goes once that session has let go of it."""
        await self._server.withdraw_harness(WithdrawHarness(deployment_uid=offer.deployment_uid))
        gone = DeleteChild(
            resource=DEPLOYMENTS, namespace=namespace, name=offer.deployment_name, uid=offer.deployment_uid
        )
        await self._cluster.run(gone, Memory())

    def _tell(self, namespace: str, environments: Iterable[Manifest]) -> float | None:
        """Let the Environments whose counts changed be written, not too often; returns when the next one is due."""
        self._standing.forget(namespace, map(_name_of, environments))
        due, later = self._standing.due(namespace)
        for name in due:
            self._changed(namespace, name)
        return later


def _name_of(manifest: Manifest) -> str:
    return str(manifest["metadata"]["name"])
