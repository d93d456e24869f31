"""The servers of a session: what a turn waits for, and what goes on beside it."""

import asyncio
from typing import Any

from managed_agents.harness.mcp.client import McpClient, McpTool
from managed_agents.harness.mcp.errors import McpAuthenticationError, McpBrokenError, McpError
from managed_agents.harness.mcp.servers import McpServer, McpServers
from managed_agents.harness.settings import Settings
from support.requirements import requirement

ONE, OTHER = (McpServer(name=name, url=f"https://{name}.example.com/mcp") for name in ("one", "other"))


class FakeClient:
    """Lists what it is told to, once its gate is open."""

    def __init__(self) -> None:
        self.answers: list[McpError | str] = []
        self.asked = 0
        self.forgotten = 0
        self.closed = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def tools(self) -> tuple[McpTool, ...]:
        self.asked += 1
        await self.gate.wait()
        answer = self.answers.pop(0)
        if isinstance(answer, McpError):
            raise answer
        return (McpTool(name=answer, description="", input_schema={}),)

    def forget(self) -> None:
        self.forgotten += 1

    async def close(self) -> None:
        self.closed = True


def _servers(**clients: FakeClient) -> McpServers:
    def client_for(name: str) -> Any:
        return clients[name]

    return McpServers(client_for, Settings(mcp_connect_seconds=0.2))


def _names(servers: McpServers) -> dict[str, list[str]]:
    return {name: [tool.name for tool in tools] for name, tools in servers.offered.items()}


@requirement("mcp-missing")
async def test_what_cannot_be_listed_is_told_once_a_turn_and_asked_again_in_the_next() -> None:
    one, other = FakeClient(), FakeClient()
    one.answers, other.answers = ["a", "a"], [McpAuthenticationError("no"), McpBrokenError("broken"), "b"]
    servers = _servers(one=one, other=other)
    failures = await servers.prepare(1, [ONE, OTHER])
    assert [failure.cause.error_type for failure in failures] == ["mcp_authentication_failed_error"]
    assert (servers.is_ready(1), servers.is_ready(2), _names(servers)) == (True, False, {"one": ["a"]})
    failures = await servers.prepare(2, [ONE, OTHER])
    assert [failure.cause.error_type for failure in failures] == ["mcp_connection_failed_error"]
    one.answers.append("a")
    assert await servers.prepare(3, [ONE, OTHER]) == []
    assert _names(servers) == {"one": ["a"], "other": ["b"]}
    await servers.close()
    assert (one.closed, other.closed) == (True, True)


async def test_what_is_listed_is_used_at_once_and_listed_again_beside_the_turn() -> None:
    one = FakeClient()
    one.answers = ["old"]
    servers = _servers(one=one)
    await servers.prepare(1, [ONE])
    one.gate.clear()
    await servers.prepare(2, [ONE])  # waits for nobody
    assert _names(servers) == {"one": ["old"]}
    await asyncio.sleep(0)
    assert (one.asked, one.forgotten) == (2, 0)
    one.answers = ["new"]
    one.gate.set()
    await servers._refreshes["one"]
    await servers.prepare(3, [ONE])
    assert _names(servers) == {"one": ["new"]}
    await servers.close()


async def test_a_list_that_fails_beside_a_turn_leaves_the_connection_to_its_calls() -> None:
    one = FakeClient()
    one.answers = ["a", McpBrokenError("broken"), "b"]
    servers = _servers(one=one)
    await servers.prepare(1, [ONE])
    await servers.prepare(2, [ONE])
    await asyncio.gather(servers._refreshes["one"], return_exceptions=True)
    assert (_names(servers), one.forgotten) == ({"one": ["a"]}, 0)
    assert await servers.prepare(3, [ONE]) == []
    assert (_names(servers), one.forgotten) == ({"one": ["b"]}, 1)
    await servers.close()


async def test_a_server_that_moved_or_went_is_dropped() -> None:
    one = FakeClient()
    one.answers = ["a", "b"]
    servers = _servers(one=one)
    await servers.prepare(1, [ONE])
    moved = McpServer(name="one", url="https://moved.example.com/mcp")
    await servers.prepare(2, [moved])
    assert (_names(servers), one.forgotten) == ({"one": ["b"]}, 1)
    await servers.prepare(3, [])
    assert _names(servers) == {}
    await servers.close()


async def test_a_turn_waits_for_a_silent_server_no_longer_than_its_time() -> None:
    one = FakeClient()
    one.gate.clear()
    servers = _servers(one=one)
    (failure,) = await servers.prepare(1, [ONE])
    assert "did not answer within 0.2 s" in failure.message
    await servers.close()


def test_the_client_of_this_bench_is_like_the_real_one() -> None:
    assert all(hasattr(McpClient, name) for name in ("tools", "forget", "close"))
