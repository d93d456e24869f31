"""A proxy on free ports between fake peers, all in one loop."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import ClientSession, ClientTimeout, web
from yarl import URL

from managed_agents.proxy.app import Ports, running
from managed_agents.proxy.settings import Pacing, Settings
from support.injection import World, close, credential, world_in
from support.sandbox_process import Sandbox

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
WAIT_SECONDS = 5.0


@dataclass(slots=True, kw_only=True)
class Seen:
    """One request as a peer got it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True, kw_only=True)
class Peer:
    """A fake of whatever the proxy talks to: records every request and answers with `handler`."""

    url: URL = field(default_factory=URL)
    seen: list[Seen] = field(default_factory=list)
    handler: Handler | None = None

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Record the request, then let the test's handler answer, or answer `{}`. It has no relay (test_egress.py)."""
        if request.path == "/egress":
            return web.json_response({"error": {"type": "not_found_error", "message": "no relay"}}, status=404)
        if request.path == "/packages":
            return web.json_response({"digest": None, "is_there": True})
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.seen.append(Seen(method=request.method, path=request.raw_path, headers=headers, body=body))
        return web.json_response({}) if self.handler is None else await self.handler(request)

    def replies(self, body: object, *, status: int = 200, **headers: str) -> None:
        """Answer every further request with this JSON."""

        async def reply(_request: web.Request) -> web.StreamResponse:
            return web.json_response(body, status=status, headers=headers)

        self.handler = reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """The proxy under test with its peers, files and a client in the harness' place."""

    ports: Ports
    server: Peer
    provider: Peer
    supervisor: Peer
    token_file: Path
    providers_file: Path
    http: ClientSession

    def model(self, path: str = "/v1/messages") -> str:
        """Return a URL of the model listener."""
        return f"http://127.0.0.1:{self.ports.model}{path}"

    def session(self, path: str) -> str:
        """Return a URL of the session listener, below the internal API."""
        return f"http://127.0.0.1:{self.ports.session}/internal/v1{path}"

    def hand(self, path: str) -> str:
        """Return a URL of the sandbox hand."""
        return f"http://127.0.0.1:{self.ports.hand}/v1/hands/sandbox{path}"

    def provide(self, *providers: dict[str, Any]) -> None:
        """Write providers.json as the kubelet does: another file in the old one's place."""
        fresh = self.providers_file.with_suffix(".new")
        fresh.write_bytes(orjson.dumps({"providers": providers}))
        fresh.rename(self.providers_file)

    def provider_entry(self, **changes: object) -> dict[str, Any]:
        """Return an entry for the fake provider."""
        return {
            "name": "fake",
            "endpoint": str(self.provider.url),
            "api_key": "key-canary",
            "default": True,
            "models": [],
            **changes,
        }


async def serve(runners: list[web.AppRunner], peer: Peer) -> Peer:
    """Start a peer on a free port of loopback."""
    app = web.Application(client_max_size=2**26)
    app.router.add_route("*", "/{path:.*}", peer.answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    runners.append(runner)
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    peer.url = URL.build(scheme="http", host="127.0.0.1", port=runner.addresses[0][1])
    return peer


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """Return a running bench whose provider serves every model."""
    runners: list[web.AppRunner] = []
    server, provider, supervisor = [await serve(runners, Peer()) for _ in range(3)]
    token_file, providers_file = tmp_path / "token", tmp_path / "providers.json"
    token_file.write_text("token-canary\n")
    settings = Settings(
        server_url=server.url,
        token_file=token_file,
        providers_file=providers_file,
        health_host="127.0.0.1",
        health_port=0,
        session_port=0,
        hand_port=0,
        model_port=0,
        mcp_port=0,
        pacing=Pacing(bound_seconds=0.2, connect_seconds=0.2, state_wait_seconds=0.05, pause_seconds=0.01),
    )
    async with ClientSession(timeout=ClientTimeout(total=WAIT_SECONDS)) as http:
        async with running(settings) as ports, asyncio.timeout(30):
            made = Bench(
                ports=ports,
                server=server,
                provider=provider,
                supervisor=supervisor,
                token_file=token_file,
                providers_file=providers_file,
                http=http,
            )
            made.provide(made.provider_entry())
            yield made
        for runner in runners:
            await runner.cleanup()


@pytest.fixture
async def world(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[World]:
    """A session with the credential `TOKEN` for `HOST`, its networking unrestricted; `sandbox` is the test file's."""
    made = await world_in(sandbox, tmp_path, credential())
    yield made
    await close(made)
