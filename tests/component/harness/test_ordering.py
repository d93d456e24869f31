"""200 randomised sessions keep the ordering contract (issue: every event stream against §5.7 by one checker)."""

import asyncio
import os
from collections import Counter
from pathlib import Path

import pytest

from managed_agents.contracts.events import types
from support.ordering import violations
from support.random_sessions import Life, world_around
from support.requirements import requirement
from support.server import server_in_process

SESSIONS = int(os.environ.get("MANAGED_AGENTS_TEST_SESSIONS", "200"))
"""How many sessions live here; 200 take some 20 s of CPU."""

AT_ONCE = 8


@requirement("order")
@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_randomised_sessions_keep_the_ordering_contract(tmp_path: Path) -> None:
    seen: Counter[str] = Counter()
    gate = asyncio.Semaphore(AT_ONCE)
    async with server_in_process(tmp_path) as server, world_around(server) as world:

        async def check(seed: int) -> list[str]:
            async with gate:
                events = await Life(world, seed).live()
            seen.update(event["type"] for event in events)
            problems = violations(events)
            for event in events:
                error = event.get("error") or {}
                if error.get("type") == "model_request_failed_error" and _is_ours(error["message"]):
                    problems.append(f"position {event['position']}: a malformed request: {error['message']}")
            return [f"seed {seed}: {problem}" for problem in problems]

        found = [problem for problems in await asyncio.gather(*map(check, range(SESSIONS))) for problem in problems]

    assert found == []
    # The dice reach what the contract is about, malformed requests by the script apart.
    for event_type in (
        types.USER_INTERRUPT,
        types.STATUS_RESCHEDULED,
        types.AGENT_CUSTOM_TOOL_USE,
        types.SESSION_ERROR,
    ):
        assert seen[event_type], event_type


def _is_ours(message: str) -> bool:
    """Tell whether the simulated model refused a request without having been told to; an excerpt may cut a script."""
    return message.startswith("messages") and "script" not in message
