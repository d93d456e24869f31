"""The load of a soak on the whole message path: its turns are right, also when conversations are compacted."""

from pathlib import Path

import pytest

from bench.soak.load import take_turn
from managed_agents.contracts.events import types
from support.sdk_client import client_of
from support.stack import stack_running

TURNS = 12
WINDOW_TOKENS = 1_500
"""Full after a few turns: compactions come between turns and in the middle of one."""


@pytest.mark.slow
async def test_turns_of_the_load_are_right_across_a_compaction(tmp_path: Path) -> None:
    provider = {"name": "simulated", "list_price": None, "context_window_tokens": WINDOW_TOKENS}
    async with stack_running(tmp_path, model_provider=provider) as stack, client_of(stack.server) as client:
        stack.start_worker()
        wrong = [await take_turn(client, stack.session, turn) for turn in range(1, TURNS + 1)]
        seen = {event["type"] for event in await stack.events()}
    assert wrong == [None] * TURNS
    assert types.CONTEXT_COMPACTED in seen
