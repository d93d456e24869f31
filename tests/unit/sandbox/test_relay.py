"""The relay's waiting connections: one that nobody takes any more is let go."""

import asyncio
from unittest.mock import Mock

import pytest

from managed_agents.sandbox.supervisor import relay as module
from managed_agents.sandbox.supervisor.relay import START, Relay
from support.sandbox_process import WAIT_SECONDS


class _Writer:
    """A connection's writing side that takes everything."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.close = Mock()

    def write(self, _: bytes) -> None:
        self.started.set()

    async def drain(self) -> None:
        await asyncio.sleep(0)


async def test_an_answer_after_the_tools_wait_is_over_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.05)  # ends while the proxy's answer is awaited
    relay, reader, writer = Relay(), asyncio.StreamReader(), _Writer()
    offering = asyncio.ensure_future(relay.offer(1, reader, writer))  # type: ignore[arg-type]  # a double
    async with asyncio.timeout(WAIT_SECONDS):
        port = await relay.start("127.0.0.1", 0)
        tool, to_tool = await asyncio.open_connection("127.0.0.1", port)
        await writer.started.wait()
        assert b"503" in await tool.read()
        reader.feed_data(START)
        await offering
    assert writer.close.called
    to_tool.close()
    await relay.close()
