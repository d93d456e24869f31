"""The server as one value: opened, listening, closed in order."""

import asyncio
import contextlib
import itertools
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import aiohttp
import structlog

from managed_agents.contracts.clock import Clock, SystemClock
from managed_agents.contracts.errors import RetryableError
from managed_agents.contracts.limits import HEARTBEAT_SECONDS
from managed_agents.eventlog.sqlite import open_event_log
from managed_agents.eventlog.sqlite.worker import Fatal
from managed_agents.eventlog.store import EventLog
from managed_agents.filestore.store import FileStore, open_file_store
from managed_agents.kube.access import KEEPALIVE_SECONDS, KubeAccess
from managed_agents.kube.client import Kube
from managed_agents.server.app import internal_app, public_app
from managed_agents.server.context import Context
from managed_agents.server.kube import KubernetesReviewer, open_client
from managed_agents.server.listening import listen_internal, listen_public
from managed_agents.server.metrics import Metrics
from managed_agents.server.services.api_keys import ApiKeys
from managed_agents.server.services.authenticator import Authenticator, Reviewer
from managed_agents.server.services.callers import Callers
from managed_agents.server.services.collection import API_MANAGER
from managed_agents.server.services.credential_probes import CredentialProbes
from managed_agents.server.services.feed import ChangeFeed
from managed_agents.server.services.intents import Intents
from managed_agents.server.services.key_memory import KeyMemory
from managed_agents.server.services.leases import Leases
from managed_agents.server.services.limits import Limits
from managed_agents.server.services.objects import Objects, objects_over
from managed_agents.server.services.packages import PackageStore
from managed_agents.server.services.public_sessions import public_sessions
from managed_agents.server.services.refresh_turns import RefreshTurns
from managed_agents.server.services.replies import Replies
from managed_agents.server.services.repository_tokens import RepositoryTokens
from managed_agents.server.services.sandbox_pools import SandboxPools
from managed_agents.server.services.session_resources import SessionResources
from managed_agents.server.services.sessions import Sessions
from managed_agents.server.services.stream_guards import StreamGuards
from managed_agents.server.services.streams import Streams
from managed_agents.server.services.turn_timings import Listener as TurnListener
from managed_agents.server.services.turn_timings import TurnTimings
from managed_agents.server.services.warm_packages import WarmPackages
from managed_agents.server.settings import Settings

SWEEP_SECONDS = 60.0
"""How long an expired file may still take room."""

REPLIES_SECONDS = 1.0
"""How long an answer that was delivered stays known as one that may be asked for again, should the server crash."""

ORPHANS_EVERY = 60
"""Sweeps to one that looks for files of deleted sessions: only a crash leaves them."""

TRACES_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""OpenTelemetry's own names; its other variables (headers, timeout, compression, sampling) count as well."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A server that listens."""

    context: Context
    public_url: str
    internal_url: str


@contextlib.asynccontextmanager
async def running_server(settings: Settings, *, clock: Clock | None = None, on_fatal: Fatal) -> AsyncIterator[Running]:
    """Open the log, listen on both ports, and take all down in order at the end.

    `on_fatal` is called when the log can no longer store; the process must end then (F4).
    """
    the_clock = clock or SystemClock()
    async with contextlib.AsyncExitStack() as stack:
        log = open_event_log(settings.data, clock=the_clock, on_fatal=on_fatal)
        stack.push_async_callback(log.close)
        files = open_file_store(
            settings.data / "files",
            clock=the_clock,
            file_bytes_max=settings.file_bytes_max,
            namespace_bytes_max=settings.files_bytes_max,
            namespace_files_max=settings.files_max,
        )
        stack.push_async_callback(files.close)
        client = await stack.enter_async_context(open_client(settings.ca_path))
        reviewer = KubernetesReviewer(client, settings.kubernetes_api, settings.token_path)
        objects = await stack.enter_async_context(_objects(settings))
        traces = await _traces(stack)
        context = build_context(settings, the_clock, log, files, reviewer, objects, traces)
        context.public_sessions.pending.known(await log.sessions())
        stack.push_async_callback(context.leases.warm.close)
        stack.push_async_callback(_stop, asyncio.create_task(context.leases.resume()))
        expiring = asyncio.create_task(_expire_leases(context.leases))
        stack.push_async_callback(_stop, expiring)
        stack.push_async_callback(_stop, asyncio.create_task(_sweep_files(context)))
        stack.push_async_callback(_stop, asyncio.create_task(context.intents.run()))
        stack.push_async_callback(_stop, asyncio.create_task(context.key_memory.run()))
        stack.push_async_callback(_stop, asyncio.create_task(_sweep_replies(context)))
        stack.push_async_callback(_stop, asyncio.create_task(context.guards.run()))
        stack.push_async_callback(_stop, asyncio.create_task(context.warm_packages.run()))
        stack.push_async_callback(context.replies.close)
        public = await listen_public(stack, settings, public_app(context))
        internal = await listen_internal(stack, settings, internal_app(context))
        stack.callback(_end_connections, context)
        _log.info("server_ready", public=public, internal=internal, boot=log.boot)
        yield Running(context=context, public_url=public, internal_url=internal)


async def _traces(stack: contextlib.AsyncExitStack) -> tuple[TurnListener, ...]:
    """Load OpenTelemetry only where somebody wants traces: it takes half a second and 20 MB."""
    if not any(os.environ.get(name) for name in TRACES_VARIABLES):
        return ()
    from managed_agents.server.services.turn_traces import exporting

    return (await stack.enter_async_context(exporting()),)


def build_context(
    settings: Settings,
    clock: Clock,
    log: EventLog,
    files: FileStore,
    reviewer: Reviewer,
    objects: Objects,
    turn_listeners: Sequence[TurnListener] = (),
) -> Context:
    """Wire the server's parts onto a log."""
    metrics = Metrics()
    feed = ChangeFeed(log.boot)
    leases = Leases(log, clock, feed)
    streams = Streams(clock, metrics.dropped_streams.inc, metrics.delivery_seconds.observe)
    timings = TurnTimings(clock, (log.note_turn, metrics.turn, *turn_listeners))
    # The timings first: they read the clock, and a change may have many readers.
    for listener in (timings.on_change, leases.on_change, streams.on_change, feed.on_change):
        log.listen(listener)
    authenticator = Authenticator(reviewer, clock)
    key_memory = _key_memory(settings, objects)
    callers = Callers(key_memory.keys, objects.api_keys.reflector.synced.is_set, authenticator, clock)
    resources = SessionResources(files, clock)
    packages = PackageStore(settings.data / "packages", namespace_bytes_max=settings.packages_bytes_max)
    pools, tokens = SandboxPools(log, objects.environments), RepositoryTokens(kube=objects.kube)
    sessions = Sessions(log, clock, feed, leases, resources, pools, tokens)
    intents = Intents(log, objects.sessions, resources, clock)
    metrics.gauge("leases", "Living leases", lambda: len(leases))
    metrics.gauge("warm_harnesses", "Harnesses that wait for a session", lambda: len(leases.warm))
    metrics.gauge("streams", "Open streams", lambda: len(streams))
    return Context(
        settings=settings,
        clock=clock,
        log=log,
        files=files,
        authenticator=authenticator,
        callers=callers,
        key_memory=key_memory,
        limits=_limits(settings, clock),
        replies=Replies(log=log, clock=clock, settle=intents.settle),
        feed=feed,
        leases=leases,
        sessions=sessions,
        packages=packages,
        warm_packages=WarmPackages(log, packages),
        intents=intents,
        public_sessions=public_sessions(log, objects, files, clock, intents, sessions),
        streams=streams,
        guards=StreamGuards(callers, clock),
        timings=timings,
        metrics=metrics,
        objects=objects,
        refresh_turns=RefreshTurns(clock=clock),
        probes=CredentialProbes(leases, clock),
    )


def _limits(settings: Settings, clock: Clock) -> Limits:
    return Limits(
        clock=clock,
        per_minute={
            "creates": settings.creates_per_minute,
            "reads": settings.reads_per_minute,
            "writes": settings.writes_per_minute,
        },
        streams_max=settings.streams_max,
    )


def _key_memory(settings: Settings, objects: Objects) -> KeyMemory:
    keys, reflector = ApiKeys(), objects.api_keys.reflector
    reflector.listen(keys.changed)
    for manifest in reflector:
        keys.changed(None, manifest)
    memory = KeyMemory(keys=keys, reflector=reflector, path=settings.data / "api-keys.json")
    memory.recall()
    return memory


@contextlib.asynccontextmanager
async def _objects(settings: Settings) -> AsyncIterator[Objects]:
    access = KubeAccess(
        url=settings.kubernetes_api.rstrip("/"),
        ca=settings.ca_path.read_text() if settings.ca_path is not None else None,
        token_path=settings.token_path,
    )
    connector = aiohttp.TCPConnector(limit=64, keepalive_timeout=KEEPALIVE_SECONDS)
    async with aiohttp.ClientSession(connector=connector) as http:
        objects = objects_over(Kube(http, access, manager=API_MANAGER))
        async with objects.following():
            yield objects


async def _expire_leases(leases: Leases) -> None:
    while True:
        await asyncio.sleep(HEARTBEAT_SECONDS / 2)
        leases.expire()


async def _sweep_files(context: Context) -> None:
    for number in itertools.count():
        try:
            await context.files.expire()
            if number % ORPHANS_EVERY == 0:
                living = frozenset(await context.log.sessions())
                await context.files.remove_orphans(living.__contains__)
        except (RetryableError, OSError) as error:
            _log.warning("files_not_swept", reason=str(error))  # the next sweep tries again
        await asyncio.sleep(SWEEP_SECONDS)


async def _sweep_replies(context: Context) -> None:
    while True:
        await asyncio.sleep(REPLIES_SECONDS)
        with contextlib.suppress(RetryableError):  # a full volume: the next sweep tries again
            await context.replies.sweep()


async def _stop(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _end_connections(context: Context) -> None:
    """End what never ends by itself, so that the ports close at once."""
    context.streams.end_all()
    context.feed.close()
    context.leases.end_all()
