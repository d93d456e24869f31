"""Fixtures of the simulator's component tests."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession, web

from component.simulator.serving import ManualClock, Served
from managed_agents.simulator.app import app_for
from managed_agents.simulator.service import Simulator


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    clock = ManualClock()
    simulator = Simulator(clock=clock)
    runner = web.AppRunner(app_for(simulator), handler_cancellation=True, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with ClientSession() as http:
        yield Served(f"http://127.0.0.1:{runner.addresses[0][1]}", simulator, clock, http)
    await runner.cleanup()
