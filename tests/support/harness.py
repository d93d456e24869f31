"""A harness on a bench: the real worker and loop, between a platform, a model and a sandbox that are fakes."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from managed_agents.harness.history.files import Content
from managed_agents.harness.mcp.client import McpClient
from managed_agents.harness.readings import READINGS_MAX, Readings
from managed_agents.harness.retry import ModelFailureError
from managed_agents.harness.settings import Settings
from managed_agents.harness.worker import Worker
from support.hands import FakeHand, FakeSandbox, FakeWeb
from support.models import Answer, ScriptedModel
from support.platform import WAIT_SECONDS, Connection, FakePlatform, Gate, open_gate

SESSION = "sesn_0123456789abcdef0123456789abcdef"
TOOLSET = {"type": "agent_toolset_20260401", "default_config": {"enabled": True}}
ASKING_TOOLSET = {"type": "agent_toolset_20260401", "default_config": {"permission_policy": {"type": "always_ask"}}}
CUSTOM_TOOL = {"type": "custom", "name": "lookup_order", "description": "Look up.", "input_schema": {"type": "object"}}
PRICE = {"currency": "USD", "per_million_tokens": {"input": "5", "output": "25"}}

QUICK = Settings(retry_base_seconds=0.001, retry_cap_seconds=0.002)


def config_for(tools: Sequence[Mapping[str, Any]] = (TOOLSET,), **changes: Any) -> dict[str, Any]:
    agent = {
        "type": "agent",
        "name": "Repair bot",
        "system": "Be brief.",
        "model": {"id": "simulated"},
        "tools": list(tools),
    }
    provider = {"name": "simulated", "list_price": PRICE}
    return {"id": SESSION, "agent": agent, "budget": None, "model_provider": provider} | changes


def message(text: str) -> dict[str, Any]:
    return {"type": "user.message", "content": [{"type": "text", "text": text}]}


INTERRUPT = {"type": "user.interrupt"}


def no_mcp_server(name: str) -> McpClient:
    raise AssertionError(f"no session of this bench has an MCP server, asked for {name}")


class FakeFiles:
    """The files of a session, by id; it counts how often each is read."""

    def __init__(self) -> None:
        self.contents: dict[str, Content] = {}
        self.reads: list[str] = []

    async def get_file(self, session: str, file_id: str) -> Content:
        self.reads.append(file_id)
        return self.contents.get(file_id) or Content(problem="it does not exist.")


class Harness:
    """The bench. `start` runs a worker; `kill` takes it away as SIGKILL would; `cut` drops its connection."""

    def __init__(
        self,
        answers: Sequence[Answer] = (),
        *,
        failures: Mapping[int, Sequence[ModelFailureError]] | None = None,
        config: Mapping[str, Any] | None = None,
        settings: Settings = QUICK,
        gate: Gate = open_gate,
    ) -> None:
        self.platform = FakePlatform(config or config_for())
        self.model = ScriptedModel(answers, failures)
        self.sandbox = FakeSandbox()
        self.web = FakeSandbox()
        self.files = FakeFiles()
        self.settings = settings
        self.gate = gate
        self.workers: list[asyncio.Task[None]] = []
        self._connection: Connection | None = None

    def start(self, *, readings: Readings | None = None) -> asyncio.Task[None]:
        """Start a worker, as the respawner does."""
        self._connection = Connection(self.platform, self.gate)
        worker = Worker(
            platform=self._connection,
            model=self.model.connect(self.gate),
            hand_for=lambda _: FakeHand(self.sandbox, self.gate),
            web_hand_for=lambda config_of: FakeWeb(self.web, config_of, self.gate),
            files=self.files,
            settings=self.settings,
            mcp_client_for=no_mcp_server,
            readings=readings,
        )
        self.workers.append(asyncio.create_task(worker.run()))
        return self.workers[-1]

    async def kill(self) -> None:
        """Take the worker away: from here on it changes nothing in the world."""
        if self._connection is not None:
            self._connection.dead = True
        await self.stop()

    async def stop(self) -> None:
        for worker in self.workers:
            worker.cancel()
        await asyncio.gather(*self.workers, return_exceptions=True)
        self.workers.clear()

    async def turn(self, *events: Mapping[str, Any]) -> dict[str, Any]:
        """Send events and return the idle event that ends what they started."""
        await self.platform.send(*events)
        return await self.idle()

    async def idle(self) -> dict[str, Any]:
        """Wait until the session is idle; a worker that died fails the test here."""
        waiting = asyncio.ensure_future(self.platform.until_idle())
        await asyncio.wait([waiting, *self.workers], timeout=WAIT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        for worker in self.workers:
            if worker.done() and not waiting.done():
                waiting.cancel()
                worker.result()
        return await waiting


def exhausted_readings() -> Readings:
    """Return what is left after as many workers as may died reading the session's log."""
    readings = Readings()
    for _ in range(READINGS_MAX):
        readings.begin(SESSION)
    return readings


@asynccontextmanager
async def running(*answers: Answer, **options: Any) -> AsyncIterator[Harness]:
    """Run a harness with this script for the length of a test."""
    harness = Harness(answers, **options)
    harness.start()
    try:
        yield harness
    finally:
        await harness.stop()
