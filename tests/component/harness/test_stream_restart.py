"""A stream goes on while its session's harness is replaced: one connection, everything in order, as the list has it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from support.stack import WAIT_SECONDS, Stack, script, stack_running
from support.streams import listed, reading


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    async with stack_running(tmp_path) as running:
        yield running


async def test_a_stream_survives_the_restart_of_the_harness_in_the_middle_of_a_request(stack: Stack) -> None:
    query = "?event_deltas[]=agent.message"
    async with reading(stack.server, stack.session, query) as reader, asyncio.timeout(WAIT_SECONDS):
        stack.start_worker()
        await stack.send(script({"text": "A long story.", "first_token_delay_seconds": 0.5}))
        shown: list[dict[str, Any]] = []
        while not shown or shown[-1]["type"] != "span.model_request_start":
            event = await reader.next()
            assert event is not None
            shown.append(event)
        await stack.stop_worker()
        stack.start_worker()
        while shown[-1]["type"] != "session.status_idle":
            event = await reader.next()
            assert event is not None
            shown.append(event)
    stored = {event["id"]: event for event in shown if "id" in event}
    assert sorted(stored.values(), key=lambda event: event["position"]) == await listed(stack.server, stack.session)
    deltas = [event for event in shown if event["type"] == "event_delta"]
    (message,) = [event for event in shown if event["type"] == "agent.message"]
    assert {delta["event_id"] for delta in deltas} == {message["id"]}
    assert "".join(delta["delta"]["content"]["text"] for delta in deltas) == "A long story."
    assert sum(event["type"] == "span.model_request_start" for event in shown) == 2
