"""Wires everything: one place that knows all parts, so that no part has to."""

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

import aiohttp
import structlog

from managed_agents.contracts import names
from managed_agents.contracts.clock import Clock, SystemClock
from managed_agents.contracts.errors import ManagedAgentsError
from managed_agents.kube.access import KEEPALIVE_SECONDS, KubeAccess
from managed_agents.kube.client import Kube
from managed_agents.kube.resources import ENVIRONMENTS, SESSIONS
from managed_agents.operator.announcer import Announcer
from managed_agents.operator.apply import ClusterEffects, ServerEffects
from managed_agents.operator.cache import Cache
from managed_agents.operator.catalog.reconciler import CatalogReconciler
from managed_agents.operator.catalog.vaults_reconciler import VaultsReconciler
from managed_agents.operator.chains import Chains
from managed_agents.operator.controller import Controller
from managed_agents.operator.feed import Feed
from managed_agents.operator.health import serve_health
from managed_agents.operator.keys import Key, has_credentials
from managed_agents.operator.leader import Leadership
from managed_agents.operator.metrics import Metrics
from managed_agents.operator.namespaces import NamespaceReconciler
from managed_agents.operator.nodes import count_nodes
from managed_agents.operator.packages.reconciler import PackagesReconciler
from managed_agents.operator.pools.demand import Demand
from managed_agents.operator.pools.reconciler import PoolsReconciler
from managed_agents.operator.pools.sandboxes_reconciler import SandboxPoolsReconciler
from managed_agents.operator.pools.standing import Standing
from managed_agents.operator.server_api import ServerApi
from managed_agents.operator.server_watch import ServerWatch
from managed_agents.operator.sessions.observe import Observer
from managed_agents.operator.sessions.reconciler import SessionReconciler
from managed_agents.operator.sessions.tokens import TokenFindings
from managed_agents.operator.settings import Settings
from managed_agents.operator.starts import Starts
from managed_agents.operator.summaries import Summaries
from managed_agents.operator.sweep import Sweeper
from managed_agents.operator.workqueue import SOON_SECONDS, WorkQueue

FIRST_SYNC_SECONDS_MAX = 5.0
"""The server's view spares repeats at the start; without it we begin all the same."""

SERIAL_BYTES = 3
"""Of chance in the name of a warm object, which a pool of a hundred tells apart; a name that is taken is tried anew."""

log = structlog.get_logger()

RunFramework = Callable[..., Awaitable[None]]
"""`run(feed, controller, stop=event)`: drives the watches until `stop`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """All parts of one process."""

    kube: Kube
    cache: Cache
    summaries: Summaries
    queue: WorkQueue[Key]
    feed: Feed
    controller: Controller
    sessions: SessionReconciler
    watch: ServerWatch
    sweeper: Sweeper
    leadership: Leadership
    metrics: Metrics
    packages: PackagesReconciler
    sandboxes: SandboxPoolsReconciler
    starts: Starts


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ground:
    """What every reconciler stands on."""

    settings: Settings
    clock: Clock
    kube: Kube
    cache: Cache
    demand: Demand
    summaries: Summaries
    server: ServerApi
    cluster: ClusterEffects
    chains: Chains
    metrics: Metrics
    starts: Starts


def build(
    settings: Settings,
    access: KubeAccess,
    http: aiohttp.ClientSession,
    *,
    clock: Clock,
    jitter: Callable[[], float],
    soon_seconds: float = SOON_SECONDS,
) -> Operator:
    """Make the parts and join them. No I/O."""

    async def reconcile(key: Key) -> float | None:
        return await controller.reconcile(key)

    queue: WorkQueue[Key] = WorkQueue(
        reconcile, clock=clock, random=jitter, workers=settings.workers, soon_seconds=soon_seconds
    )
    ground = _ground(settings, access, http, queue, clock)
    cache, summaries, metrics = ground.cache, ground.summaries, ground.metrics
    tokens = TokenFindings(lambda namespace, name: queue.add(Key("Session", namespace, name)))
    sessions = _sessions(ground, tokens)
    packages = PackagesReconciler(ground.kube, cache, ground.cluster, ground.server, settings.session)
    standing = Standing(clock)
    sandboxes = _sandboxes(ground, standing)
    pools = _pools(ground, standing, sandboxes, lambda namespace, name: queue.add(Key("Environment", namespace, name)))
    vaults = VaultsReconciler(ground.kube, cache, ground.cluster, summaries, tokens.note, clock=clock)
    controller = Controller(
        sessions,
        CatalogReconciler(ground.kube, cache, ground.cluster, packages, standing, clock=clock),
        NamespaceReconciler(cache, ground.cluster),
        pools,
        vaults,
        clock=clock,
        metrics=metrics,
    )
    feed = Feed(cache, ground.starts, clock, add=queue.add, add_soon=queue.add_soon)

    def forget() -> None:
        ground.cluster.forget_namespaces()
        vaults.forget()

    metrics.queue_keys.set_function(lambda: len(queue))
    return Operator(
        kube=ground.kube,
        cache=cache,
        summaries=summaries,
        queue=queue,
        feed=feed,
        controller=controller,
        sessions=sessions,
        watch=ServerWatch(
            ground.server, summaries, add=_heard(queue, cache), on_resync=_retelling(sessions, pools, queue, cache)
        ),
        sweeper=Sweeper(ground.kube, cache, feed, interval_seconds=settings.sweep_seconds, on_sweep=forget),
        leadership=Leadership(ground.kube, clock, namespace=settings.namespace, identity=settings.identity),
        metrics=metrics,
        packages=packages,
        sandboxes=sandboxes,
        starts=ground.starts,
    )


def _retelling(
    sessions: SessionReconciler, pools: PoolsReconciler, queue: WorkQueue[Key], cache: Cache
) -> Callable[[], None]:
    """Return what tells the server everything anew: it may have been restored from a backup."""

    def retell() -> None:
        sessions.forget_server()
        pools.forget_server()
        for namespace in {place[0] for place in cache.known(ENVIRONMENTS)}:
            queue.add(Key("Pools", namespace))
        for namespace, name in cache.known(SESSIONS):
            queue.add(Key("Session", namespace, name))

    return retell


def _heard(queue: WorkQueue[Key], cache: Cache) -> Callable[[Key, bool], None]:
    """Return what takes the server's news: a warm harness needs its session's credentials at once, adopted or not."""

    def add(key: Key, is_urgent: bool) -> None:
        if has_credentials(cache, key.namespace, key.name):
            queue.add(key)
            queue.add(Key("Vaults", key.namespace))
        elif is_urgent:
            queue.add(key)
        else:
            queue.add_soon(key)

    return add


def _ground(
    settings: Settings,
    access: KubeAccess,
    http: aiohttp.ClientSession,
    queue: WorkQueue[Key],
    clock: Clock,
) -> _Ground:
    kube, cache, metrics = Kube(http, access, manager=names.MANAGER), Cache(), Metrics()
    demand = Demand(
        clock, lambda namespace: queue.add_soon(Key("Pools", namespace))
    )  # the turn that took one goes first
    cluster = ClusterEffects(
        kube,
        cache,
        Announcer(kube, clock, identity=settings.identity),
        clock=clock,
        metrics=metrics,
        system_namespace=settings.session.system_namespace,
    )
    return _Ground(
        settings=settings,
        clock=clock,
        kube=kube,
        cache=cache,
        demand=demand,
        summaries=Summaries(demand),
        server=ServerApi(http, url=settings.session.server_url, token_path=settings.server_token_path),
        cluster=cluster,
        chains=Chains(kube),
        metrics=metrics,
        starts=Starts(clock, queue.add),
    )


def _sessions(ground: _Ground, tokens: TokenFindings) -> SessionReconciler:
    settings, clock = ground.settings.session, ground.clock
    return SessionReconciler(
        Observer(ground.kube, ground.cache, ground.summaries, ground.chains, tokens, clock=clock, settings=settings),
        ground.cluster,
        ServerEffects(ground.server, ground.summaries),
        kube=ground.kube,
        cache=ground.cache,
        summaries=ground.summaries,
        starts=ground.starts,
        clock=ground.clock,
        metrics=ground.metrics,
    )


def _sandboxes(ground: _Ground, standing: Standing) -> SandboxPoolsReconciler:
    return SandboxPoolsReconciler(
        ground.kube,
        ground.cache,
        ground.cluster,
        ground.server,
        ground.demand,
        standing,
        clock=ground.clock,
        settings=ground.settings.session,
    )


def _pools(
    ground: _Ground, standing: Standing, sandboxes: SandboxPoolsReconciler, changed: Callable[[str, str], None]
) -> PoolsReconciler:
    return PoolsReconciler(
        ground.cache,
        ground.cluster,
        ground.server,
        ground.chains,
        ground.demand,
        standing,
        ground.starts,
        sandboxes,
        clock=ground.clock,
        settings=ground.settings.session,
        new_serial=lambda: secrets.token_hex(SERIAL_BYTES),
        changed=changed,
    )


async def run(settings: Settings, access: KubeAccess, run_framework: RunFramework) -> bool:
    """Run one operator to its end; tells whether it ended in good order (False: the Lease was lost)."""
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        connector = aiohttp.TCPConnector(keepalive_timeout=KEEPALIVE_SECONDS)
        http = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        operator = build(settings, access, http, clock=clock, jitter=random.SystemRandom().random)
        await stack.enter_async_context(serve_health(settings.health_port, operator.metrics, lambda: True))
        if settings.leader_elect:
            await operator.leadership.acquire()
        operator.metrics.is_leader.set(1)
        return await _lead(settings, operator, run_framework)


async def _lead(settings: Settings, operator: Operator, run_framework: RunFramework) -> bool:
    stop, lost = asyncio.Event(), asyncio.Event()

    def lose() -> None:
        lost.set()
        stop.set()

    await operator.sweeper.prime()
    background = [asyncio.create_task(operator.watch.run(), name="server watch")]
    try:
        async with asyncio.timeout(FIRST_SYNC_SECONDS_MAX):
            await operator.watch.synced.wait()
    except TimeoutError:
        log.warning("server_not_synced", seconds=FIRST_SYNC_SECONDS_MAX)
    background.append(asyncio.create_task(operator.queue.run(), name="work queue"))
    background.append(asyncio.create_task(operator.sweeper.run(), name="sweep"))
    background.append(asyncio.create_task(operator.packages.run(), name="packages"))
    background.append(asyncio.create_task(count_nodes(operator.kube, operator.starts), name="count of nodes"))

    def look_at(namespace: str) -> None:
        operator.queue.add(Key("Pools", namespace))

    background.append(asyncio.create_task(operator.sandboxes.run(look_at), name="warm sandboxes"))
    if settings.leader_elect:
        background.append(asyncio.create_task(operator.leadership.hold(lose), name="lease"))
    for task in background:
        task.add_done_callback(lambda task: _ended(task, lose))
    try:
        # in this very task: at its end the framework cancels every other task of the loop
        await run_framework(operator.feed, operator.controller, stop=stop)
    finally:
        for task in background:
            task.cancel()
    if settings.leader_elect and not lost.is_set():
        await _give_back(operator.leadership)
    return not lost.is_set()


def _ended(task: asyncio.Task[None], lose: Callable[[], None]) -> None:
    """A part that ends by itself is a bug: better to start anew than to go on without it."""
    if task.cancelled():
        return
    if (failure := task.exception()) is not None:
        log.error("background_task_failed", task=task.get_name(), exc_info=failure)
    lose()


async def _give_back(leadership: Leadership) -> None:
    try:
        await leadership.release()
    except ManagedAgentsError as failure:
        log.warning("lease_not_given_back", error=failure.message)
