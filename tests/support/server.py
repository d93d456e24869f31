"""A server for tests: in this process or in one of its own, in front of a fake kube-apiserver that knows its tokens.

`async with server_in_process(tmp_path) as server:` gives a `TestServer` with its URLs, tokens and a thin client.
`async with server_process(tmp_path) as process:` starts `python -m managed_agents.server`, to be killed at will.
"""

import asyncio
import contextlib
import hashlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from managed_agents.contracts.clock import Clock
from managed_agents.contracts.ids import new_event_id, session_id_for
from managed_agents.contracts.ports import SERVER_AUDIENCE
from managed_agents.eventlog.sqlite.backend import SqliteEventLog
from managed_agents.server.factory import Running, running_server
from managed_agents.server.services.authenticator import OPERATOR_USER, POD_UID_KEY
from managed_agents.server.services.objects import Objects
from managed_agents.server.settings import Settings
from support.kube import FakeKube
from support.kube_http import FakeApiServer

OPERATOR_TOKEN = "operator-token"
USER_TOKEN = "user-token"
WAIT_SECONDS = 5.0


def pod_token(pod_uid: str) -> str:
    """The token that the fake kube-apiserver knows as that Pod's."""
    return f"pod-token.{pod_uid}"


@dataclass
class FakeKubernetes:
    """Answers TokenReviews and SubjectAccessReviews; all else is the fake kube-apiserver `api`, with its objects.

    `allowed` decides the latter; `down` makes everything answer 503.
    """

    api: FakeApiServer
    url: str = ""
    down: bool = False
    allowed: Callable[[Mapping[str, Any]], bool] = lambda _: True
    reviews: list[Mapping[str, Any]] = field(default_factory=list)
    extra_tokens: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if self.down:
            return web.Response(status=503)
        if not request.path.startswith(("/apis/authentication.k8s.io/", "/apis/authorization.k8s.io/")):
            return await self.api.handle(request)
        body = await request.json()
        self.reviews.append(body)
        if body["kind"] == "TokenReview":
            return web.json_response({**body, "status": self._token_status(body["spec"])}, status=201)
        return web.json_response({**body, "status": {"allowed": self.allowed(body["spec"])}}, status=201)

    def _token_status(self, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        token, audiences = spec["token"], spec.get("audiences")
        if token in self.extra_tokens:
            return self.extra_tokens[token]
        if audiences is None:
            user: dict[str, Any] = {"username": "alice", "uid": "u-1", "groups": ["system:authenticated"]}
            return {"authenticated": True, "user": user} if token == USER_TOKEN else {"authenticated": False}
        if audiences != [SERVER_AUDIENCE]:
            return {"authenticated": False}
        if token == OPERATOR_TOKEN:
            return {"authenticated": True, "audiences": audiences, "user": {"username": OPERATOR_USER}}
        if token.startswith("pod-token."):
            extra = {POD_UID_KEY: [token.removeprefix("pod-token.")]}
            user = {"username": "system:serviceaccount:team-a:ma-harness", "extra": extra}
            return {"authenticated": True, "audiences": audiences, "user": user}
        return {"authenticated": False}


@contextlib.asynccontextmanager
async def fake_kubernetes(kube: FakeKube | None = None) -> AsyncIterator[FakeKubernetes]:
    """Serve on a free loopback port, over the objects of `kube` where one is given."""
    fake = FakeKubernetes(api=FakeApiServer(kube if kube is not None else FakeKube()))
    app = web.Application(client_max_size=2**24)
    app.router.add_route("*", "/{path:.*}", fake.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield fake
    finally:
        await runner.cleanup()


def session_config(name: str = "repair-42", **changes: Any) -> dict[str, Any]:
    """A session config as the operator makes it; its uid is derived from the name."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    uid = "-".join((digest[:8], digest[8:12], digest[12:16], digest[16:20], digest[20:32]))
    return {
        "id": session_id_for(uid),
        "uid": uid,
        "namespace": "team-a",
        "name": name,
        "title": None,
        "metadata": {},
        "created_at": "2026-01-02T03:04:05Z",
        "agent": {
            "type": "agent",
            "id": "agent_0123456789ab",
            "version": 1,
            "name": "Repair bot",
            "description": None,
            "system": "You repair.",
            "model": {"id": "simulated"},
            "tools": [{"type": "agent_toolset_20260401"}],
            "mcp_servers": [],
            "skills": [],
            "multiagent": None,
        },
        "environment": {"id": "env_0123456789ab", "name": "python", "config": {"type": "cloud"}},
        "resources": [],
        "vault_ids": [],
        "budget": None,
        "model_provider": {"name": "simulated", "list_price": None, "context_window_tokens": 200_000},
        **changes,
    }


def message(text: str) -> dict[str, Any]:
    """A user message as a client sends it."""
    return {"type": "user.message", "content": [{"type": "text", "text": text}]}


def agent_event(event_type: str, **fields: Any) -> dict[str, Any]:
    """An event as a harness emits it, with a fresh id."""
    return {"id": new_event_id(), "type": event_type, **fields}


@dataclass(kw_only=True)
class TestServer:
    """A running server and a client that speaks as operator, harness or user."""

    __test__ = False

    public_url: str
    internal_url: str
    kubernetes: FakeKubernetes
    http: aiohttp.ClientSession
    running: Running | None = None

    async def call(self, method: str, url: str, token: str, **kwargs: Any) -> tuple[int, Any]:
        """Send a request; return status and JSON body (null when there is none)."""
        headers = {"Authorization": f"Bearer {token}", **kwargs.pop("headers", {})}
        async with self.http.request(method, url, headers=headers, **kwargs) as response:
            raw = await response.read()
            return response.status, (await response.json(content_type=None)) if raw else None

    async def operator(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        return await self.call(method, f"{self.internal_url}/internal/v1{path}", OPERATOR_TOKEN, json=body)

    async def harness(self, pod_uid: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        return await self.call(method, f"{self.internal_url}/internal/v1{path}", pod_token(pod_uid), json=body)

    async def user(self, method: str, path: str, body: Any = None, **kwargs: Any) -> tuple[int, Any]:
        return await self.call(method, f"{self.public_url}/v1{path}", USER_TOKEN, json=body, **kwargs)

    async def limit_volume(self, pages: int) -> None:
        """Let the log's file grow to that many pages and no further; SQLite then says that its volume is full."""
        assert self.running is not None
        log = self.running.context.log
        assert isinstance(log, SqliteEventLog)
        await log._worker.read(lambda: log._state.connection.pragma("max_page_count", pages))

    async def create(self, name: str = "repair-42", *events: Mapping[str, Any], **changes: Any) -> str:
        """Create a session as the operator does; return its id."""
        config = session_config(name, **changes)
        status, answer = await self.operator("PUT", f"/sessions/{config['id']}", {"config": config, "events": events})
        assert status == 200, answer
        return str(config["id"])

    async def register(self, session_id: str, pod_uid: str = "pod-1", deployment_uid: str | None = None) -> None:
        """Register a harness Pod for a session."""
        body = {
            "namespace": "team-a",
            "pod_name": pod_uid,
            "deployment_uid": deployment_uid or f"deployment-of-{session_id}",
            "session_id": session_id,
        }
        status, answer = await self.operator("PUT", f"/harness-pods/{pod_uid}", body)
        assert status == 204, answer

    @property
    def kube(self) -> FakeKube:
        """The objects that the server reads and writes, as `kubectl` would see and edit them."""
        return self.kubernetes.api.kube

    @property
    def objects(self) -> Objects:
        """What the server knows of them."""
        assert self.running is not None
        return self.running.context.objects

    @contextlib.asynccontextmanager
    async def wake(self, pod_uid: str = "pod-1") -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """Open a harness's wake connection."""
        headers = {"Authorization": f"Bearer {pod_token(pod_uid)}"}
        async with self.http.ws_connect(f"{self.internal_url}/internal/v1/wake", headers=headers) as socket_:
            yield socket_

    async def leased(self, socket_: aiohttp.ClientWebSocketResponse) -> dict[str, Any]:
        """Return the lease frame that a wake begins with."""
        frame: dict[str, Any] = await socket_.receive_json(timeout=WAIT_SECONDS)
        assert frame["type"] == "lease", frame
        return frame


def settings_for(directory: Path, kubernetes: FakeKubernetes, **changes: Any) -> Settings:
    """Settings of a server on free loopback ports."""
    values: dict[str, Any] = {"token_path": None, "ca_path": None, "public_port": 0, "internal_port": 0}
    values |= {"creates_per_minute": 0, "reads_per_minute": 0, "writes_per_minute": 0} | changes
    return Settings(data=directory, host="127.0.0.1", kubernetes_api=kubernetes.url, **values)


@contextlib.asynccontextmanager
async def server_in_process(
    directory: Path, *, clock: Clock | None = None, kube: FakeKube | None = None, **changes: Any
) -> AsyncIterator[TestServer]:
    """Run a server in this process, on free ports, that has read the objects of `kube`; `changes` are settings."""

    def on_fatal(error: BaseException) -> None:
        raise AssertionError(f"the event log failed: {error!r}")

    async with (
        fake_kubernetes(kube) as kubernetes,
        aiohttp.ClientSession() as http,
        running_server(settings_for(directory, kubernetes, **changes), clock=clock, on_fatal=on_fatal) as running,
    ):
        async with asyncio.timeout(WAIT_SECONDS):
            await running.context.objects.wait_synced()
        yield TestServer(
            public_url=running.public_url,
            internal_url=running.internal_url,
            kubernetes=kubernetes,
            http=http,
            running=running,
        )


@dataclass(kw_only=True)
class ServerProcess:
    """A server in a process of its own; the data and the ports stay when it is started again."""

    server: TestServer
    arguments: list[str]
    process: asyncio.subprocess.Process | None = None
    draining: "asyncio.Task[None] | None" = None

    async def start(self) -> None:
        """Start it and wait until it is ready."""
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "managed_agents.server", *self.arguments, stdout=asyncio.subprocess.PIPE
        )
        assert self.process.stdout is not None
        async with asyncio.timeout(20):
            async for line in self.process.stdout:
                if b"server_ready" in line:
                    self.draining = asyncio.create_task(_drain(self.process.stdout))
                    return
        raise AssertionError(f"the server ended with {await self.process.wait()}")

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it; return its exit code."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(how)
        async with asyncio.timeout(20):
            await self.process.wait()
            if self.draining is not None:
                await self.draining
        code = self.process.returncode
        assert code is not None
        self.process = None
        return code


async def _drain(output: asyncio.StreamReader) -> None:
    """Read what a process writes, which would else stop once its pipe is full."""
    while await output.read(2**16):
        pass


@contextlib.asynccontextmanager
async def server_process(directory: Path) -> AsyncIterator[ServerProcess]:
    """Run `python -m managed_agents.server` until the block ends."""
    public, internal = _free_port(), _free_port()
    async with fake_kubernetes() as kubernetes, aiohttp.ClientSession() as http:
        server = TestServer(
            public_url=f"http://127.0.0.1:{public}",
            internal_url=f"http://127.0.0.1:{internal}",
            kubernetes=kubernetes,
            http=http,
        )
        arguments = ["--data", str(directory), "--host", "127.0.0.1", "--kubernetes-api", kubernetes.url]
        arguments += ["--public-port", str(public), "--internal-port", str(internal)]
        arguments += ["--creates-per-minute", "0", "--reads-per-minute", "0", "--writes-per-minute", "0"]
        arguments += ["--token-path", os.devnull + ".absent", "--ca-path", os.devnull + ".absent"]
        process = ServerProcess(server=server, arguments=arguments)
        await process.start()
        try:
            yield process
        finally:
            if process.process is not None:
                await process.stop(signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
