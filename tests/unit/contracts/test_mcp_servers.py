"""MCP servers of an agent: which URLs are the same, and which can never work."""

from typing import Any

import pytest

from managed_agents.contracts.api.mcp_servers import normalised, problem_of, problems
from support.requirements import requirement

TOOLSET = {"type": "mcp_toolset", "mcp_server_name": "git"}
SERVER = {"type": "url", "name": "git", "url": "https://mcp.example.com/git"}


@requirement("mcp-credential")
@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("https://MCP.Example.com/git", "https://mcp.example.com/git/", True),
        ("HTTPS://mcp.example.com:443", "https://mcp.example.com/", True),
        ("http://mcp.example.com:80/x", "http://mcp.example.com/x", True),
        ("https://mcp.example.com./x", "https://mcp.example.com/x", True),
        ("http://[::1]:80/x", "http://[::1]/x", True),
        ("https://mcp.example.com/x?tenant=a", "https://mcp.example.com/x/?tenant=a", True),
        ("https://mcp.example.com/git", "https://mcp.example.com/Git", False),
        ("https://mcp.example.com/git", "https://mcp.example.com/git/v2", False),
        ("https://mcp.example.com/git", "https://example.com/git", False),
        ("https://mcp.example.com/git", "http://mcp.example.com/git", False),
        ("https://mcp.example.com/git", "https://mcp.example.com:8443/git", False),
        ("https://mcp.example.com/x?tenant=a", "https://mcp.example.com/x?tenant=b", False),
    ],
)
def test_urls_are_the_same_only_after_the_documented_normalisation(one: str, other: str, is_same: bool) -> None:
    assert (normalised(one) == normalised(other)) == is_same


@requirement("A23")
@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "LOCALHOST.", "a.localhost", "127.0.0.1", "127.9.9.9", "0.0.0.0", "[::1]", "[::]"),
        *("169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "[::ffff:127.0.0.1]", "224.0.0.1"),
        *("metadata.google.internal", "168.63.129.16"),
    ],
)
def test_a_url_at_this_machine_or_a_metadata_service_is_refused(host: str) -> None:
    assert problem_of(f"http://{host}/mcp") is not None
    assert problem_of(f"https://{host}:8443/mcp") is not None


@pytest.mark.parametrize("host", ["mcp.example.com", "tracker.team-a.svc", "10.20.0.7", "93.184.216.34", "[2600::1]"])
def test_what_an_administrator_may_allow_is_judged_when_it_is_dialled(host: str) -> None:
    assert problem_of(f"https://{host}/mcp") is None


@requirement("mcp-accepted")
@pytest.mark.parametrize(
    ("tools", "servers", "found"),
    [
        ([TOOLSET], [SERVER], []),
        ([], [SERVER], [("mcp_servers.0.name", "spec.mcpServers[0].name: no tool")]),
        ([TOOLSET], [], [("tools.0.mcp_server_name", "spec.tools[0].mcpServerName: mcp_servers has")]),
        ([TOOLSET], [SERVER | {"url": "http://[::1]/"}], [("mcp_servers.0.url", "spec.mcpServers[0].url: names this")]),
        ([TOOLSET], [SERVER | {"url": "http://x:99999/"}], [("mcp_servers.0.url", "spec.mcpServers[0].url: is not a")]),
    ],
)
def test_servers_and_toolsets_name_each_other(
    tools: list[dict[str, Any]], servers: list[dict[str, Any]], found: list[tuple[str, str]]
) -> None:
    told = list(problems(tools, servers))
    assert [problem.path for problem in told] == [path for path, _ in found]
    assert all(str(problem).startswith(text) for problem, (_, text) in zip(told, found, strict=True))
