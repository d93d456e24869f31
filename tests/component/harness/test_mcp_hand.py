"""The MCP hand against real servers, without a proxy between: what each fault means for a call."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from managed_agents.harness.history.state import ToolUse
from managed_agents.harness.mcp.client import McpClient
from managed_agents.harness.mcp.event_stream import EventStream
from managed_agents.harness.mcp.hand import McpHand, perform
from managed_agents.harness.mcp.http import StreamableHttp
from managed_agents.harness.settings import Settings
from managed_agents.harness.tools.hand import Call, HandUnavailableError, HandUnreachableError, NeverSeen
from support.mcp_server import breaking_server, mcp_server
from support.requirements import requirement

SLOW = Call(id="sevt_1", name="slow")


@asynccontextmanager
async def _hand(url: str, silence_seconds: float = 5.0) -> AsyncIterator[McpHand]:
    settings = Settings(mcp_silence_seconds=silence_seconds, mcp_connect_seconds=5.0)
    async with aiohttp.ClientSession() as http:
        client = McpClient(lambda: StreamableHttp(http, url, "tracker"), lambda: EventStream(http, url, "tracker"))
        yield McpHand(client, settings)
        await client.close()


@requirement("mcp-unknown")
@pytest.mark.parametrize("transport", ["streamable", "sse"])
async def test_silence_is_bounded_and_ends_in_an_unknown_outcome(transport: Any) -> None:
    async with mcp_server(transport) as world, _hand(world.url, 0.3) as hand:
        assert await hand.provision() == hand.generation == 1
        with pytest.raises(HandUnreachableError) as silent:
            await hand.execute(SLOW)
        assert silent.value.message.startswith("no answer within 0.3 s")
        assert world.effects == ["slow"]
        async with asyncio.timeout(5):
            await world.is_cancelled.wait()
        assert await hand.lookup(SLOW.id) == NeverSeen()


async def test_progress_breaks_the_silence() -> None:
    async with mcp_server() as world, _hand(world.url, 0.5) as hand:
        result = await hand.execute(Call(id="sevt_1", name="steady"))
        assert result.content == [{"type": "text", "text": "steadily done"}]


@requirement("mcp-unknown")
async def test_a_call_that_reaches_nobody_did_not_run_and_says_so() -> None:
    async with mcp_server() as world:
        pass
    use = ToolUse(id="sevt_1", name="add", input={}, position=1, permission="allow", server="tracker")
    async with _hand(world.url) as hand:
        with pytest.raises(HandUnavailableError):
            await hand.provision()
        result = await perform(hand, use, recovers=False)
        assert (result.is_error, "did not run" in result.content[0]["text"]) == (True, True)
        result = await perform(hand, use, recovers=True)
        assert (result.is_error, "unknown" in result.content[0]["text"]) == (True, True)


@requirement("mcp-unknown")
@pytest.mark.parametrize("resumes", [True, False])
async def test_a_broken_stream_is_taken_up_again_and_the_call_never_repeated(resumes: bool) -> None:
    async with breaking_server(resumes=resumes) as server, _hand(server.url) as hand:
        if resumes:
            assert (await hand.execute(SLOW)).content == [{"type": "text", "text": "late"}]
        else:
            with pytest.raises(HandUnreachableError):
                await hand.execute(SLOW)
        assert (server.calls, server.last_ids) == (1, ["7"])


async def test_a_server_of_the_older_transport_that_closed_its_stream_is_connected_again() -> None:
    async with mcp_server("sse") as world, _hand(world.url) as hand:
        await hand.provision()
        assert hand._client._transport is not None
        await hand._client._transport.close()
        result = await hand.execute(Call(id="sevt_1", name="add", input={"a": 1, "b": 2}))
        assert result.content == [{"type": "text", "text": "3"}]
