"""With `url_sources`, web_fetch reads only addresses that stood in a source that is open."""

from typing import Any

import pytest

from managed_agents.contracts.events import types
from managed_agents.harness.tools.hand import ToolResult
from managed_agents.harness.tools.url_sources import Addresses
from support.harness import CUSTOM_TOOL, TOOLSET, config_for, message, running
from support.models import Answer, text, tool
from support.requirements import requirement

ALL, NONE = {"type": "all"}, {"type": "none"}


def only(*tools: str) -> dict[str, Any]:
    return {"type": "only", "tools": [{"type": "tool_reference", "name": name} for name in tools]}


def user(said: str) -> dict[str, Any]:
    return {"type": types.USER_MESSAGE, "id": "u", "content": [{"type": "text", "text": said}]}


def called(kind: str, name: str, result: dict[str, Any]) -> list[dict[str, Any]]:
    """A call of a tool and its result."""
    return [{"type": kind, "id": name, "name": name, "input": {}}, result]


def web(name: str, *content: dict[str, Any], is_error: bool = False) -> list[dict[str, Any]]:
    result = {"type": types.AGENT_TOOL_RESULT, "tool_use_id": name, "content": list(content), "is_error": is_error}
    return called(types.AGENT_TOOL_USE, name, result)


def custom(name: str, said: str) -> list[dict[str, Any]]:
    content = [{"type": "text", "text": said}]
    result = {"type": types.USER_CUSTOM_TOOL_RESULT, "custom_tool_use_id": name, "content": content}
    return called(types.AGENT_CUSTOM_TOOL_USE, name, result)


def page(said: str) -> dict[str, Any]:
    source = {"type": "text", "media_type": "text/plain", "data": said}
    return {"type": "document", "source": source, "context": "Fetched from https://page.example/"}


HIT = {"type": "search_result", "source": "https://hit.example/a", "title": "t", "content": []}


def addresses(*events: dict[str, Any]) -> Addresses:
    found = Addresses()
    for position, event in enumerate(events, start=1):
        found.add({**event, "position": position})
    return found


@requirement("web-sources")
@pytest.mark.parametrize(
    ("events", "url", "sources", "permitted"),
    [
        ([user("read https://a.example/x.")], "https://a.example/x", {"user_input": ALL}, True),
        ([user("read HTTPS://A.example#part")], "https://a.example/", {}, True),
        ([user("read https://a.example/x")], "https://a.example/x?secret=1", {}, False),
        ([user("read https://a.example/x")], "https://a.example/X", {}, False),
        ([user("read https://a.example/x")], "https://a.example/x", {"user_input": NONE}, False),
        ([user("[this](https://a.example/x) and (https://a.example/y)")], "https://a.example/y", {}, True),
        ([user("[this](https://a.example/x) too")], "https://a.example/x", {}, True),
        (web("web_search", HIT), "https://hit.example/a", {"user_input": NONE}, True),
        (web("web_search", HIT), "https://hit.example/a", {"server_tool_results": NONE}, False),
        (web("web_search", HIT), "https://hit.example/a", {"server_tool_results": only("web_fetch")}, False),
        (web("web_fetch", page("[next](https://n.example/)")), "https://n.example/", {}, True),
        (web("web_fetch", page("x")), "https://page.example/", {"server_tool_results": only("web_fetch")}, True),
        (web("web_fetch", page("https://n.example/"), is_error=True), "https://n.example/", {}, False),
        (web("bash", {"type": "text", "text": "https://b.example/"}), "https://b.example/", {}, False),
        (custom("look", "https://c.example/"), "https://c.example/", {}, True),
        (custom("look", "https://c.example/"), "https://c.example/", {"client_tool_results": only("look")}, True),
        (
            custom("look", "https://c.example/"),
            "https://c.example/",
            {"client_tool_results": {**only("look"), "type": "except"}},
            False,
        ),
        ([], "not an address", {}, False),
    ],
)
def test_an_address_counts_by_where_it_stood(
    events: list[dict[str, Any]], url: str, sources: dict[str, Any], *, permitted: bool
) -> None:
    assert addresses(*events).permits(url, sources) is permitted


@requirement("web-sources")
async def test_the_log_decides_also_after_a_new_harness_took_over() -> None:
    config = {"name": "web_fetch", "url_sources": {"user_input": ALL, "client_tool_results": NONE}}
    toolset = {**TOOLSET, "configs": [config]}
    script = (
        Answer(tool("web_fetch", url="https://said.example/")),
        Answer(tool("web_fetch", url="https://made-up.example/?key=1")),
        Answer(tool("bash", command="curl")),
        Answer(text("Done.")),
    )
    async with running(*script, config=config_for([toolset, CUSTOM_TOOL])) as harness:
        harness.web.results["web_fetch"] = ToolResult(content=[page("x")])
        await harness.turn(message("read https://said.example/"))
        read, refused, ran = harness.platform.of(types.AGENT_TOOL_RESULT)
        assert (read["is_error"], ran["is_error"]) == (False, False)
        assert refused["content"][0]["text"] == (
            "url_not_allowed: this agent's web_fetch reads only addresses that stood, letter for letter, in what the "
            "user said or results of web tools; https://made-up.example/?key=1 did not"
        )
        assert len(harness.web.effects) == 1

        await harness.kill()
        harness.start()
        harness.model.answers += [Answer(tool("web_fetch", url="https://page.example/")), Answer(text("Again."))]
        await harness.turn(message("and where that came from"))
        assert not harness.platform.of(types.AGENT_TOOL_RESULT)[-1]["is_error"]
