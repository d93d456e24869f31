"""Wires the listeners: one life cycle that owns every socket of the process."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass

from aiohttp import ClientSession, TCPConnector, web

from managed_agents.contracts.clock import SystemClock
from managed_agents.proxy.audit import Envelope, audited
from managed_agents.proxy.bindings import Binding
from managed_agents.proxy.connections import client_over, noticing_sockets
from managed_agents.proxy.egress import Egress
from managed_agents.proxy.egress_dns import Resolver
from managed_agents.proxy.egress_networking import SessionNetworking
from managed_agents.proxy.egress_pool import EgressPool, PoolPacing
from managed_agents.proxy.errors import internal_envelope, model_envelope
from managed_agents.proxy.files.finding import SandboxFinder
from managed_agents.proxy.files.outputs import Outputs
from managed_agents.proxy.files.transfers import HttpTransfers
from managed_agents.proxy.files.uploads import Uploads
from managed_agents.proxy.hand_listener import HandListener
from managed_agents.proxy.health import health_routes
from managed_agents.proxy.injection.credentials import parse_environment_credentials
from managed_agents.proxy.injection.sandboxes import SessionCredentials
from managed_agents.proxy.mcp_bearers import Bearers
from managed_agents.proxy.mcp_credentials import parse_credentials
from managed_agents.proxy.mcp_dialling import client_for
from managed_agents.proxy.mcp_listener import McpListener
from managed_agents.proxy.model_listener import ModelListener
from managed_agents.proxy.oauth.probes import Probes
from managed_agents.proxy.oauth.probing import McpProbe
from managed_agents.proxy.oauth.server_grants import HttpServerGrants
from managed_agents.proxy.oauth.token_endpoint import HttpTokenEndpoint
from managed_agents.proxy.packages import Packages
from managed_agents.proxy.providers import parse_providers
from managed_agents.proxy.repositories.serving import Repositories, repositories_of
from managed_agents.proxy.sandbox_ends import ServerClaims, SupervisorClient
from managed_agents.proxy.sandbox_hand import FoundOf, SandboxHand
from managed_agents.proxy.server_access import ServerAccess, parse_token
from managed_agents.proxy.session_listener import SessionListener
from managed_agents.proxy.settings import BODY_BYTES_MAX, SHUTDOWN_SECONDS, Settings
from managed_agents.proxy.wake import Configured, Ended, WakeRelay
from managed_agents.proxy.watched_file import WatchedFile
from managed_agents.proxy.web.tools import web_tools

KEEPALIVE_SECONDS = 30.0
"""How long an unused connection to provider, server or supervisor is kept: a TLS handshake costs two round trips."""

_NOTICING = noticing_sockets(idle_seconds=4, interval_seconds=2, probes=3)
"""A peer that vanished is noticed in ten seconds, also while a tool runs in silence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The ports that a running proxy listens on."""

    health: int
    session: int
    hand: int
    model: int
    mcp: int


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Ports]:
    """Serve until the block ends and the harness has left; then finish what is open within a second."""
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(_client())
        server = ServerAccess(settings.server_url, WatchedFile(settings.token_file, parse_token))
        transfers = HttpTransfers(client, server)
        claims, supervisor = ServerClaims(client, server), SupervisorClient(client, settings.pacing)
        finder = SandboxFinder(client, server, claims, supervisor)
        uploads, outputs = Uploads(transfers), Outputs(transfers, finder)
        for files in (uploads, outputs):
            stack.push_async_callback(files.close)
        mcp, probes = await _mcp(stack, settings, client, server)
        vault = SessionCredentials(
            WatchedFile(settings.credentials_file, parse_environment_credentials), settings.egress
        )
        repositories = await stack.enter_async_context(repositories_of(settings, Resolver().resolve))
        pool = _egress(settings, client, server, vault, repositories)
        configured = _configured(uploads, outputs, finder, mcp, probes, vault, repositories)
        wake = WakeRelay(client, configured, _ended(outputs, finder), turns=outputs, probed=probes.asked)
        stack.push_async_callback(pool.close)
        in_use = _all(pool.ensure, uploads.in_use, outputs.in_use)
        hand = SandboxHand(
            claims,
            supervisor,
            settings.pacing,
            SystemClock(),
            in_use=in_use,
            environment_of=vault.environment_of,
            found_of=_found(vault, repositories),
        )
        model = ModelListener(client, WatchedFile(settings.providers_file, parse_providers))
        sessions = SessionListener(client, server, wake, outputs)

        web_routes = await stack.enter_async_context(web_tools(settings, client))
        sandbox_routes = HandListener(hand, uploads, outputs, Packages(transfers)).routes()
        hands = _app("hand", internal_envelope, [*sandbox_routes, *web_routes])
        servers = _app("mcp", internal_envelope, mcp.routes())
        models = _app("model", model_envelope, model.routes())
        yield Ports(
            health=await _listen(stack, _health(wake), settings.health_host, settings.health_port),
            hand=await _listen(stack, hands, settings.loopback, settings.hand_port),
            model=await _listen(stack, models, settings.loopback, settings.model_port),
            mcp=await _listen(stack, servers, settings.loopback, settings.mcp_port),
            session=await _listen(stack, _session(sessions, wake), settings.loopback, settings.session_port),
        )
        await wake.left(seconds=settings.leaving_seconds)


def _configured(
    uploads: Uploads,
    outputs: Outputs,
    finder: SandboxFinder,
    mcp: McpListener,
    probes: Probes,
    vault: SessionCredentials,
    repositories: Repositories,
) -> Configured:
    def configured(config: Mapping[str, object], epoch: int | None) -> None:
        uploads.configure(config)
        mcp.configure(config)
        probes.configure(config)
        vault.configure(config, is_lease=epoch is not None)
        repositories.configure(config, is_lease=epoch is not None)
        if epoch is not None:
            finder.leased(str(config.get("id")), epoch)
            outputs.leased()

    return configured


def _found(vault: SessionCredentials, repositories: Repositories) -> FoundOf:
    def found(binding: Binding) -> Mapping[str, object]:
        lists = {
            "unreachable": [asdict(one) for one in vault.unreachable(binding)],
            "missing_tokens": [asdict(one) for one in repositories.gateway.missing.news()],
        }
        return {name: entries for name, entries in lists.items() if entries}

    return found


def _ended(outputs: Outputs, finder: SandboxFinder) -> Ended:
    def ended(sandbox_name: str) -> None:
        if finder.session is not None:
            outputs.let_go(finder.session, sandbox_name)

    return ended


def _all(*listeners: Callable[[Binding], None]) -> Callable[[Binding], None]:
    def tell(binding: Binding) -> None:
        for listener in listeners:
            listener(binding)

    return tell


def _egress(
    settings: Settings,
    client: ClientSession,
    server: ServerAccess,
    vault: SessionCredentials,
    repositories: Repositories,
) -> EgressPool:
    networking = SessionNetworking(client, server)
    egress = Egress(settings.egress, Resolver().resolve, repositories.inner)
    return EgressPool(egress, networking.for_session, SystemClock(), PoolPacing(), credentials_of=vault.of)


async def _mcp(
    stack: AsyncExitStack, settings: Settings, server_client: ClientSession, server: ServerAccess
) -> tuple[McpListener, Probes]:
    client = await stack.enter_async_context(client_for(settings.egress, Resolver().resolve))
    file = WatchedFile(settings.credentials_file, parse_credentials)
    endpoint, grants = HttpTokenEndpoint(client, settings.egress), HttpServerGrants(server_client, server)
    bearers = Bearers(file, endpoint, grants, SystemClock())
    stack.push_async_callback(bearers.close)
    probes = Probes(McpProbe(client, settings.egress, bearers.renewals), bearers, grants)
    stack.push_async_callback(probes.close)
    return McpListener(client, settings.egress, bearers), probes


def _client() -> ClientSession:
    """Return the one pool of connections to provider, server and supervisor."""
    connector = TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_SECONDS, ttl_dns_cache=30, socket_factory=_NOTICING)
    return client_over(connector)


def _app(listener: str, envelope: Envelope, routes: list[web.RouteDef]) -> web.Application:
    app = web.Application(middlewares=[audited(listener, envelope)], client_max_size=BODY_BYTES_MAX)
    app.add_routes(routes)
    return app


def _session(listener: SessionListener, wake: WakeRelay) -> web.Application:
    app = _app("session", internal_envelope, listener.routes())

    async def close(_app: web.Application) -> None:
        await wake.close()

    app.on_shutdown.append(close)
    return app


def _health(wake: WakeRelay) -> web.Application:
    app = web.Application()
    app.add_routes(health_routes(lambda: wake.is_open))
    return app


async def _listen(stack: AsyncExitStack, app: web.Application, host: str, port: int) -> int:
    """Serve an app and return its port. A caller that leaves ends its handler, and so the request to the other side."""
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    site = web.TCPSite(runner, host, port)
    await site.start()
    bound: int = runner.addresses[0][1]
    return bound
