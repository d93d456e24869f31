"""Randomised sessions: real server, log, worker and simulated model; sandbox, client and killer are dice.

A seed fixes what a session is asked and what happens to it; when, is up to the event loop.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from managed_agents.eventlog.records import Change, Slice
from managed_agents.harness.model import MessagesModel
from managed_agents.harness.platform_http import HttpPlatform
from managed_agents.harness.settings import Settings
from managed_agents.harness.tools.hand import HandLostError
from managed_agents.harness.worker import Worker
from managed_agents.simulator.app import app_for
from managed_agents.simulator.clock import SystemClock
from managed_agents.simulator.service import Simulator
from support.hands import FakeHand, FakeSandbox, FakeWeb, text_result
from support.harness import no_mcp_server
from support.server import TestServer, message, pod_token, session_config

WAIT_SECONDS = 60.0
SCRIPTED = "scripted failure"
CUSTOM = {"type": "custom", "name": "lookup_order", "description": "Look up.", "input_schema": {"type": "object"}}
PRICE = {"currency": "USD", "per_million_tokens": {"input": "100", "output": "100"}}


@dataclass
class World:
    """What all sessions share."""

    server: TestServer
    model: MessagesModel
    settings: Settings
    changed: dict[str, asyncio.Event] = field(default_factory=dict)

    def on_change(self, change: Change) -> None:
        if change.session_id in self.changed:
            self.changed[change.session_id].set()


@contextlib.asynccontextmanager
async def world_around(server: TestServer) -> AsyncIterator[World]:
    """Put a simulated model beside a server."""
    assert server.running is not None
    runner = web.AppRunner(app_for(Simulator(clock=SystemClock())), handler_cancellation=True, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    settings = Settings(
        session_url=server.internal_url,
        model_url=f"http://127.0.0.1:{runner.addresses[0][1]}",
        retry_base_seconds=0.001,
        retry_cap_seconds=0.01,
        reconnect_cap_seconds=0.05,
        model_retries_max=3,
    )
    async with MessagesModel(settings) as model:
        world = World(server, model, settings)
        server.running.context.log.listen(world.on_change)
        yield world
    await runner.cleanup()


class Life:
    """One session with its worker and its client."""

    def __init__(self, world: World, seed: int) -> None:
        self.world, self.dice = world, random.Random(seed)  # noqa: S311 - dice of a test
        self.name, self.pod = f"random-{seed}", f"pod-{seed}"
        self.sandbox = FakeSandbox()
        self.session = ""
        self.worker: asyncio.Task[None] | None = None
        self.http = aiohttp.ClientSession(headers={"Authorization": f"Bearer {pod_token(self.pod)}"})

    async def live(self) -> list[dict[str, Any]]:
        """Live through random events and come to rest; return the session's events."""
        world, dice = self.world, self.dice
        self.session = await world.server.create(self.name, **self._config())
        await world.server.register(self.session, self.pod)
        world.changed[self.session] = asyncio.Event()
        try:
            self._start()
            await self._send(self._script())
            for _ in range(dice.randint(2, 8)):
                await self._something()
                await self._pause()
            await self._rest()
            return await self._events()
        finally:
            await self._kill()
            await self.http.close()

    def _config(self) -> dict[str, Any]:
        dice = self.dice
        asks = (
            {"configs": [{"name": "bash", "permission_policy": {"type": "always_ask"}}]} if dice.random() < 0.5 else {}
        )
        disabled = {"default_config": {"enabled": False}} if dice.random() < 0.1 else {}
        agent = session_config()["agent"] | {"tools": [{"type": "agent_toolset_20260401", **asks, **disabled}, CUSTOM]}
        window = dice.choice([200_000, 200_000, 400])
        provider = {"name": "simulated", "list_price": PRICE, "context_window_tokens": window}
        budget = {"type": "limit", "max_list_cost": {"amount": str(dice.choice([5, 10, 100])), "currency": "USD"}}
        return {"agent": agent, "model_provider": provider, "budget": budget if dice.random() < 0.3 else None}

    # what happens

    async def _something(self) -> None:
        actions = [
            self._message,
            self._message,
            self._redirect,
            self._interrupt,
            self._restart,
            self._settle,
            self._cap,
        ]
        await self.dice.choice(actions)()

    async def _message(self) -> None:
        system = {"type": "system.message", "content": [{"type": "text", "text": "Mind the gap."}]}
        blocked = (await self._projection()).requires_action
        with_system = [system] if self.dice.random() < 0.3 and not blocked else []
        await self._send(self._script() if self.dice.random() < 0.5 else message("More."), *with_system)

    async def _redirect(self) -> None:
        await self._send({"type": "user.interrupt"}, self._script())

    async def _interrupt(self) -> None:
        await self._send({"type": "user.interrupt"})

    async def _restart(self) -> None:
        await self._kill()
        if self.dice.random() < 0.2:
            self.sandbox.lose("Evicted")
        self._start()

    async def _settle(self) -> None:
        pending = list((await self._projection()).pending.items())
        self.dice.shuffle(pending)
        answers = [self._answer(use, entry) for use, entry in pending[: self.dice.randint(1, 3)]]
        if answers:
            await self._send(*answers)

    async def _cap(self) -> None:
        """Raise or remove a budget, as an update of the session does."""
        config = await self._log().config(self.session)
        if config["budget"] is not None:
            raised = config["budget"] | {"max_list_cost": {"amount": "100000", "currency": "USD"}}
            body = {"config": config | {"budget": self.dice.choice([raised, None])}, "events": []}
            await self.world.server.operator("PUT", f"/sessions/{self.session}", body)

    def _answer(self, use: str, entry: Mapping[str, str]) -> dict[str, Any]:
        if entry["kind"] == "custom":
            content = [{"type": "text", "text": "shipped"}]
            return {"type": "user.custom_tool_result", "custom_tool_use_id": use, "content": content}
        result = self.dice.choice(["allow", "allow", "deny"])
        return {"type": "user.tool_confirmation", "tool_use_id": use, "result": result}

    def _script(self) -> dict[str, Any]:
        steps = [self._step() for _ in range(self.dice.randint(1, 4))]
        steps.append({"text": "Done."})
        return message(f"{self.name} {self.dice.random()}\n```script\n{orjson.dumps(steps).decode()}\n```")

    def _step(self) -> dict[str, Any]:
        dice = self.dice
        tools = [{"name": dice.choice(["bash", "bash", "read", "lookup_order", "nothing"]), "input": {"command": "ls"}}]
        pace = {"first_token_delay_seconds": dice.choice([0, 0, 0.01, 0.05])}
        options: Sequence[dict[str, Any]] = [
            {"text": "Thinking aloud.", "tools": tools * dice.randint(1, 3), **pace},
            {"thinking": "Hm.", "tools": tools, **pace},
            {"text": "A word. " * 50, "chunk_delay_seconds": dice.choice([0, 0.002]), "tools": tools},
            {"error": {"status": 529, "type": "overloaded_error", "message": SCRIPTED}, "times": dice.randint(1, 5)},
            {"error": {"status": 400, "type": "invalid_request_error", "message": SCRIPTED}},
            {"text": "Never whole.", "cut": {"after_chars": 4}, "times": dice.randint(1, 2)},
            {"text": "cut", "stop_reason": "max_tokens"},
            {"stop_reason": "refusal", "category": "cyber", "explanation": "no"},
        ]
        return dice.choices(options, weights=[6, 3, 3, 2, 1, 1, 1, 1])[0]

    # the worker

    def _start(self) -> None:
        worker = Worker(
            platform=HttpPlatform(self.http, self.world.settings),
            model=self.world.model,
            hand_for=lambda _: FakeHand(self.sandbox, self._gate),
            web_hand_for=lambda config_of: FakeWeb(FakeSandbox(), config_of),
            files=HttpPlatform(self.http, self.world.settings),
            settings=self.world.settings,
            mcp_client_for=no_mcp_server,
        )
        self.worker = asyncio.create_task(worker.run())

    async def _kill(self) -> None:
        if self.worker is not None:
            self.worker.cancel()
            await asyncio.gather(self.worker, return_exceptions=True)

    async def _gate(self, point: str) -> None:
        """Let tools take their time, fail, or lose their sandbox."""
        if point == "during execute":
            await asyncio.sleep(self.dice.choice([0, 0, 0.01, 0.03]))
            self.sandbox.results["bash"] = text_result("ran", is_error=self.dice.random() < 0.2)
            if self.dice.random() < 0.05:
                self.sandbox.lose("OOMKilled")
                raise HandLostError(reason="OOMKilled", message="the Pod is gone")

    # the client

    async def _send(self, *events: Mapping[str, Any]) -> None:
        """Send events; a refusal by the rules of the moment is part of the game."""
        path = f"/sessions/{self.session}/events"
        status, answer = await self.world.server.user("POST", path, {"events": list(events)})
        assert status in (200, 400), answer

    async def _rest(self) -> None:
        """Come to rest, in bounded time."""
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while await self._is_busy():
                    pass
        except TimeoutError:
            tail = [event["type"] for event in (await self._events())[-20:]]
            raise AssertionError(f"{self.name} never rests: {await self._projection()}, {tail}") from None

    async def _is_busy(self) -> bool:
        """Answer what is asked and raise what is capped. False: there was nothing to do."""
        changed = self.world.changed[self.session]
        changed.clear()
        projection = await self._projection()
        if projection.wanted:
            await self._alive(changed)
        elif projection.requires_action:
            await self._settle()
        elif projection.budget_reached:
            await self._cap()
        else:
            return False
        return True

    async def _alive(self, changed: asyncio.Event) -> None:
        """Wait for a change; a worker that ended without one has failed."""
        assert self.worker is not None
        waiting = asyncio.ensure_future(changed.wait())
        await asyncio.wait([waiting, self.worker], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self.worker.done():
            self.worker.result()

    async def _pause(self) -> None:
        await asyncio.sleep(self.dice.choice([0, 0.005, 0.02, 0.05]))

    async def _events(self) -> list[dict[str, Any]]:
        return [orjson.loads(event.public()) for event in await self._log().read(self.session, Slice(limit=10_000))]

    async def _projection(self) -> Any:
        return (await self._log().session(self.session)).projection

    def _log(self) -> Any:
        assert self.world.server.running is not None
        return self.world.server.running.context.log
