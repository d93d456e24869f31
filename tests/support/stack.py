"""The whole message path on loopback: real server, proxy, simulated model and worker, with a sandbox in two processes.

What Kubernetes would do is played by `Cluster`: it registers the harness Pod and starts a sandbox when one is wanted.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web
from yarl import URL

from managed_agents.contracts.egress import EgressRules
from managed_agents.contracts.web_search import WebSearchSettings
from managed_agents.harness.settings import Settings
from managed_agents.harness.worker import run_worker
from managed_agents.proxy.app import Ports
from managed_agents.proxy.app import running as proxy_running
from managed_agents.proxy.settings import Pacing
from managed_agents.proxy.settings import Settings as ProxySettings
from managed_agents.simulator.app import app_for
from managed_agents.simulator.clock import SystemClock
from managed_agents.simulator.service import Simulator
from support.sandbox_process import Sandbox, new_folder
from support.server import TestServer, message, pod_token, server_in_process

ServerFor = Callable[[Path], AbstractAsyncContextManager[TestServer]]

POD = "pod-1"
WAIT_SECONDS = 20.0
IMPORT_SECONDS = 50.0
"""Starting a harness imports the SDK: two seconds alone, many more on a machine that compiles something."""


def script(*steps: Any, text: str = "Go.") -> dict[str, Any]:
    """A user message that carries a script for the simulated model."""
    return message(f"{text}\n```script\n{orjson.dumps(list(steps)).decode()}\n```")


@dataclass
class Stack:
    """A running stack with one session."""

    server: TestServer
    simulator: Simulator
    ports: Ports
    settings: Settings
    session: str
    folder: Path
    sandboxes: list[Sandbox] = field(default_factory=list)
    workers: list[asyncio.Task[None]] = field(default_factory=list)
    sandbox_arguments: tuple[str, ...] = ()
    """More arguments of the supervisors that are started, and variables of their tools."""
    sandbox_variables: dict[str, str] = field(default_factory=dict)

    def start_worker(self) -> asyncio.Task[None]:
        """Run a worker in this process."""
        self.workers.append(asyncio.create_task(run_worker(self.settings)))
        return self.workers[-1]

    async def stop_worker(self) -> None:
        worker = self.workers.pop()
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)

    async def start_harness(self) -> asyncio.subprocess.Process:
        """Run the harness container's process, and wait until it has imported what its workers share."""
        names = ("session_url", "hand_url", "model_url", "mcp_url", "retry_base_seconds")
        variables = {f"MANAGED_AGENTS_{name.upper()}": str(getattr(self.settings, name)) for name in names}
        variables["MANAGED_AGENTS_READINGS_FILE"] = ""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "managed_agents.harness"),
            env={**os.environ, **variables},
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        async with asyncio.timeout(IMPORT_SECONDS):
            while b"harness_ready" not in await process.stdout.readline():
                pass
        return process

    async def send(self, *events: Mapping[str, Any]) -> list[str]:
        status, answer = await self.server.user("POST", f"/sessions/{self.session}/events", {"events": list(events)})
        assert status == 200, answer
        return [event["id"] for event in answer["data"]]

    async def events(self) -> list[dict[str, Any]]:
        status, answer = await self.server.user("GET", f"/sessions/{self.session}/events?limit=1000")
        assert status == 200, answer
        events: list[dict[str, Any]] = answer["data"]
        return events

    async def summary(self) -> dict[str, Any]:
        _, answer = await self.server.operator("GET", f"/sessions/{self.session}")
        summary: dict[str, Any] = answer
        return summary

    async def until(
        self, condition: Callable[[dict[str, Any]], bool] = lambda _: True, **expected: Any
    ) -> dict[str, Any]:
        """Follow the operator's watch until the session's summary has these values and meets this condition."""
        headers = {"Authorization": "Bearer operator-token"}
        url = f"{self.server.internal_url}/internal/v1/watch"
        async with asyncio.timeout(WAIT_SECONDS), self.server.http.get(url, headers=headers) as response:
            async for line in response.content:
                summary = orjson.loads(line).get("summary") or {}
                is_ours = summary.get("id") == self.session
                if is_ours and all(summary[key] == value for key, value in expected.items()) and condition(summary):
                    return summary
        raise AssertionError("the watch ended")

    async def turn(self, *events: Mapping[str, Any]) -> dict[str, Any]:
        """Send events and wait until nobody is wanted any more."""
        await self.send(*events)
        return await self.until(wanted=False)

    async def started(self, name: str) -> None:
        """Wait until a command in the sandbox has made this file."""
        await self.until(lambda summary: (summary["sandbox"] or {}).get("state") == "ready")
        await self.sandboxes[-1].wait_file(name)

    async def serve_sandboxes(self) -> None:
        """Start a sandbox whenever the summary wants one, as the operator does."""
        headers = {"Authorization": "Bearer operator-token"}
        url = f"{self.server.internal_url}/internal/v1/watch"
        async with self.server.http.get(url, headers=headers, timeout=None) as response:
            async for line in response.content:
                wanted = (orjson.loads(line).get("summary") or {}).get("sandbox") or {}
                if wanted.get("state") == "wanted" and wanted["generation"] > len(self.sandboxes):
                    await self._start_sandbox(wanted)

    async def _start_sandbox(self, wanted: Mapping[str, Any]) -> None:
        arguments = ("--token-sha256", wanted["token_sha256"], *self.sandbox_arguments)
        sandbox = Sandbox(new_folder(), arguments=arguments, variables=self.sandbox_variables)
        self.sandboxes.append(sandbox)
        await sandbox.start_supervisor()
        await sandbox.start_runner()
        await self.report(wanted["pod_name"], "ready", address=f"127.0.0.1:{sandbox.port}")

    async def report(self, pod_name: str, state: str, **fields: Any) -> None:
        """Tell the server what became of a sandbox Pod."""
        body = {"session_id": self.session, "pod_uid": pod_name, "state": state, "address": None} | fields
        status, answer = await self.server.operator("PUT", f"/sandboxes/team-a/{pod_name}", body)
        assert status == 204, answer


@asynccontextmanager
async def stack_running(
    folder: Path, server_for: ServerFor = server_in_process, *, egress: EgressRules | None = None, **config: Any
) -> AsyncIterator[Stack]:
    """Run everything but the worker, with one session that has no events."""
    simulator = Simulator(clock=SystemClock())
    runner = web.AppRunner(app_for(simulator), handler_cancellation=True, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with server_for(folder / "data") as server:
        session = await server.create("repair-42", **config)
        await server.register(session, POD)
        model_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        proxy = replace(_proxy_settings(folder, server.internal_url, model_url), egress=egress or EgressRules())
        async with proxy_running(proxy) as ports:
            stack = Stack(server, simulator, ports, _settings_for(ports), session, folder)
            operator = asyncio.create_task(stack.serve_sandboxes())
            try:
                yield stack
            finally:
                await _close(stack, operator)
    await runner.cleanup()


async def _close(stack: Stack, operator: asyncio.Task[None]) -> None:
    for task in [*stack.workers, operator]:
        task.cancel()
    await asyncio.gather(*stack.workers, operator, return_exceptions=True)
    for sandbox in stack.sandboxes:
        await sandbox.close()


def _settings_for(ports: Ports) -> Settings:
    return Settings(
        session_url=f"http://127.0.0.1:{ports.session}",
        hand_url=f"http://127.0.0.1:{ports.hand}",
        model_url=f"http://127.0.0.1:{ports.model}",
        mcp_url=f"http://127.0.0.1:{ports.mcp}",
        retry_base_seconds=0.01,
    )


def _proxy_settings(folder: Path, server_url: str, model_url: str) -> ProxySettings:
    token_file, providers_file = folder / "token", folder / "providers.json"
    token_file.write_text(pod_token(POD))
    provider = {"name": "simulated", "endpoint": model_url, "api_key": "any", "default": True, "models": []}
    providers_file.write_bytes(orjson.dumps({"providers": [provider]}))
    return ProxySettings(
        server_url=URL(server_url),
        token_file=token_file,
        providers_file=providers_file,
        health_host="127.0.0.1",
        health_port=0,
        session_port=0,
        hand_port=0,
        model_port=0,
        mcp_port=0,
        credentials_file=folder / "credentials.json",
        web_search=WebSearchSettings(backend="searxng", endpoint=model_url),
        pacing=Pacing(bound_seconds=1.0, connect_seconds=0.5, state_wait_seconds=0.1, pause_seconds=0.02),
    )
