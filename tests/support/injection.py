"""A sandbox whose session has environment credentials, and TLS servers that record what reaches them."""

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

from managed_agents.contracts.egress import EgressRules
from managed_agents.proxy.bindings import Binding
from managed_agents.proxy.egress_rules import Networking
from managed_agents.proxy.injection.credentials import parse_environment_credentials
from managed_agents.proxy.injection.sandboxes import SandboxCredentials, SessionCredentials
from managed_agents.proxy.watched_file import WatchedFile
from support.authorities import TestAuthority
from support.egress import Network, binding_of, tunnel
from support.sandbox_process import WAIT_SECONDS, Sandbox

HOST = "api.example"
FOREIGN = "foreign.example"
VALUE = "canary-5f/+ 1&d"
ECHO_BYTES_MAX = 64 * 1024 * 1024
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Got:
    """One request as a server got it; `headers` in lower case, each once."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    peer: object


@dataclass
class Server:
    """Answers each request with what it got, in JSON, or as a test's handler says."""

    port: int = 0
    got: list[Got] = field(default_factory=list)
    handler: Handler | None = None
    _runner: web.AppRunner | None = None

    async def start(self, context: ssl.SSLContext | None) -> "Server":
        app = web.Application(client_max_size=ECHO_BYTES_MAX)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        peer = request.transport.get_extra_info("peername") if request.transport else None
        if headers.get("upgrade") == "websocket":
            self.got.append(Got(request.method, request.raw_path, headers, b"", peer))
            return await _websocket(request)
        body = await request.read()
        self.got.append(Got(request.method, request.raw_path, headers, body, peer))
        if self.handler is not None:
            return await self.handler(request)
        return web.json_response({"headers": headers, "body": body.decode("latin-1")[:4096]})


async def _websocket(request: web.Request) -> web.StreamResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            await socket.send_str(message.data)
    return socket


def credential(name: str = "TOKEN", value: str = VALUE, hosts: list[str] | None = None, **location: bool) -> Any:
    """Return an entry of the proxy's file, for `HOST` in headers and bodies where nothing else is said."""
    return {
        "id": f"vcrd_{name.lower()}",
        "vault_id": "vlt_1",
        "type": "environment_variable",
        "secret_name": name,
        "secret_value": value,
        "networking": {"type": "limited", "allowed_hosts": [HOST] if hosts is None else hosts},
        "injection_location": {"header": True, "body": True, **location},
    }


def everywhere(name: str = "TOKEN") -> Any:
    """Return an entry for every host."""
    return {**credential(name), "networking": {"type": "unrestricted"}}


@dataclass
class World:
    """Sandbox, proxy's egress and the servers `HOST` and `FOREIGN`, on one authority that the administrator trusts."""

    sandbox: Sandbox
    folder: Path
    authority: TestAuthority
    server: Server
    foreign: Server
    network: Network
    session: SessionCredentials
    calls: int = 0

    @property
    def binding(self) -> Binding:
        return binding_of(self.sandbox)

    @property
    def credentials(self) -> SandboxCredentials:
        return self.session.of(self.binding)

    def keep(self, *entries: Any) -> None:
        """Write the credentials' file, as the kubelet does: another one in its place."""
        keep(self.folder, *entries)

    def open_port(self, port: int) -> None:
        """Let the administrator open another port, and no more those of the servers."""
        egress = self.network.pool._egress
        egress._rules = replace(egress._rules, ports=(port,))

    async def bind(self, epoch: int = 1) -> None:
        answer = await self.sandbox.bind(environment=await self.session.environment_of(self.binding), epoch=epoch)
        assert answer.status == 200, answer

    def placeholder(self, name: str = "TOKEN") -> str:
        variables: Any = self.credentials.environment()["variables"]
        return str(variables[name])

    async def run(self, command: str) -> str:
        """Run a command in the sandbox's shell; `$URL` and `$FOREIGN_URL` are the servers'."""
        self.calls += 1
        urls = f"URL=https://{HOST}:{self.server.port} FOREIGN_URL=https://{FOREIGN}:{self.foreign.port}"
        answer = await self.sandbox.bash(f"call_{self.calls}", f"export {urls}; {command}")
        assert answer.status == 200, answer
        return answer.text

    async def json(self, command: str) -> Any:
        text = await self.run(command)
        try:
            return json.loads(text)
        except ValueError:
            raise AssertionError(text) from None

    async def tls(
        self, authority: str, *, name: str = HOST, trusted: str | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a tunnel and begin TLS in it, as a tool does that trusts the session's authority."""
        reader, writer = await tunnel(self.sandbox, authority)
        context = ssl.create_default_context(cadata=trusted or self.credentials.authority.certificate)
        async with asyncio.timeout(WAIT_SECONDS):
            await writer.start_tls(context, server_hostname=name)
        return reader, writer

    async def raw(self, request: bytes, name: str = HOST) -> bytes:
        """Send bytes over TLS to `HOST` and return all that comes until the end, or the first whole answer."""
        reader, writer = await self.tls(f"{HOST}:{self.server.port}", name=name)
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                writer.write(request)
                await writer.drain()
                return await reader.read()
        finally:
            writer.close()


def keep(folder: Path, *entries: Any) -> None:
    document = {"session_id": "sesn_1", "generation": 1, "credentials": list(entries)}
    fresh = folder / "credentials.new"
    fresh.write_text(json.dumps(document))
    fresh.replace(folder / "credentials.json")


def session_credentials(folder: Path) -> SessionCredentials:
    file = WatchedFile(folder / "credentials.json", parse_environment_credentials)
    return SessionCredentials(file, EgressRules())


async def world_in(sandbox: Sandbox, folder: Path, *entries: Any, networking: Networking | None = None) -> World:
    """Make one whose sandbox is bound and whose session has these credentials."""
    keep(folder, *entries)
    authority = TestAuthority(folder)
    server = await Server().start(authority.server_context(HOST))
    foreign = await Server().start(authority.server_context(FOREIGN))
    rules = EgressRules(
        ports=(server.port, foreign.port), allowed=(ip_network("127.0.0.0/8"),), authorities=(authority.pem,)
    )
    session = session_credentials(folder)
    network = Network.under(rules, networking or Networking(is_limited=False), session.of)
    network.names.known |= {HOST: ["127.0.0.1"], FOREIGN: ["127.0.0.1"]}
    world = World(sandbox, folder, authority, server, foreign, network, session)
    await world.bind()
    network.pool.ensure(world.binding)
    return world


async def close(world: World) -> None:
    await world.network.pool.close()
    await world.server.stop()
    await world.foreign.stop()
