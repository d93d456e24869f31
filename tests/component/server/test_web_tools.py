"""Web tools in an agent's configs, by the official SDK: taken, shown, kept for the harness, and refused where wrong."""

from typing import Any

import anthropic
import pytest

from support.public_sessions import TOOLSET, Shelf
from support.requirements import requirement
from support.server import TestServer

FETCH: dict[str, Any] = {"name": "web_fetch", "allowed_domains": ["docs.example.com"], "max_content_tokens": 2000}
ONLY = {"type": "only", "tools": [{"type": "tool_reference", "name": "web_search"}]}
SOURCES = ("user_input", "client_tool_results", "server_tool_results")
SEARCH: dict[str, Any] = {"name": "web_search", "blocked_domains": ["example.org/private"]}


def overridden(shelf: Shelf, *configs: dict[str, Any]) -> Any:
    tools = [{**TOOLSET, "configs": list(configs)}]
    return {"type": "agent_with_overrides", "id": shelf.agent, "tools": tools}


@requirement("web-fetch", "web-search")
async def test_a_session_takes_web_tools_with_their_domains(
    server: TestServer, client: anthropic.AsyncAnthropic, shelf: Shelf
) -> None:
    session = await client.beta.sessions.create(
        agent=overridden(shelf, {**FETCH, "url_sources": {"server_tool_results": ONLY}}, SEARCH),
        environment_id=shelf.environment,
    )
    shown: Any = session.to_dict(mode="json")
    fetch, search = shown["agent"]["tools"][0]["configs"]
    assert fetch.items() >= {**FETCH, "type": "web_fetch", "enabled": True, "blocked_domains": None}.items()
    everything = {"type": "all"}
    assert fetch["url_sources"] == {
        "user_input": everything,
        "client_tool_results": everything,
        "server_tool_results": ONLY,
    }
    assert search.items() >= {**SEARCH, "type": "web_search", "enabled": True, "allowed_domains": None}.items()
    (manifest,) = server.kube.list("sessions")
    (toolset,) = manifest["spec"]["agentOverrides"]["tools"]
    assert toolset["configs"][0]["allowedDomains"] == ["docs.example.com"]


@requirement("web-fetch", "web-search")
@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({**FETCH, "allowed_domains": ["10.0.0.1"]}, "allowed_domains: entry 0: IP addresses are not supported"),
        ({**FETCH, "allowed_domains": ["x.internal"]}, "allowed_domains: entry 0: names under internal are not public"),
        ({**FETCH, "allowed_domains": ["a.com/docs"]}, "allowed_domains: entry 0: a path is not supported"),
        ({**SEARCH, "allowed_domains": ["a.com"]}, "allowed_domains and blocked_domains exclude each other"),
        ({**SEARCH, "blocked_domains": []}, "blocked_domains"),
        ({**FETCH, "url_sources": dict.fromkeys(SOURCES, "none")}, "at least one source must not be none"),
    ],
)
async def test_wrong_domains_and_sources_are_refused_with_their_place(
    client: anthropic.AsyncAnthropic, shelf: Shelf, config: dict[str, Any], problem: str
) -> None:
    with pytest.raises(anthropic.BadRequestError, match=problem):
        await client.beta.sessions.create(agent=overridden(shelf, config), environment_id=shelf.environment)
