"""Web tools on the cluster: pages and a search that the administrator opens, read by proxies, without any sandbox."""

from typing import Any

import pytest

from support.cluster import Namespace, installation, managed, message, script
from support.requirements import requirement
from support.server_pod import file_server

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

SEARCH = {"backend": "searxng", "endpoint": "http://simulator.managed-agents-system.svc:8500", "thousand_price": "10"}
PAGE = (
    "<html><head><title>Forecast</title><script>steal()</script></head><body><p>It rains in the cluster.</body></html>"
)


@requirement("web-fetch", "web-search", "web-search-cost", "A23")
def test_pages_and_searches_reach_the_model_and_no_sandbox_is_made(namespace: Namespace) -> None:
    pages = file_server(namespace, "pages", {"page.html": PAGE})
    host, address = pages.host, pages.address
    page = f"http://{host}/page.html"
    steps = script(
        {"tool": "web_search", "input": {"query": f"weather {page}"}},
        {"tool": "web_fetch", "input": {"url": page}},
        {"tool": "web_fetch", "input": {"url": "http://169.254.169.254/latest/meta-data/"}},
        {"tool": "web_fetch", "input": {"url": "https://kubernetes.default.svc/api"}},
        {"tool": "web_fetch", "input": {"url": f"http://{address}:8080/"}},
        {"text": "Done."},
    )
    with installation(egress_rules={"allowed_hosts": [host], "allowed_cidrs": [address]}, web_search=SEARCH):
        namespace.create_session("reading", message("look", steps))
        namespace.wait_idle("reading", seconds=180)
    found, read, *refused = results(namespace, "reading")
    assert found["content"][0] == {
        "type": "search_result",
        "source": page,
        "title": "Result 1",
        "content": [{"type": "text", "text": "About weather."}],
        "citations": {"enabled": True},
    }
    assert read["content"] == [
        {
            "type": "document",
            "source": {"type": "text", "media_type": "text/plain", "data": "It rains in the cluster."},
            "title": "Forecast",
            "context": f"Fetched from {page}",
        }
    ]
    for result in refused:
        assert result["is_error"], "what the administrator opened is open, and nothing beside it"
        assert result["content"][0]["text"].startswith("url_not_allowed: ")
    usage = [event for event in namespace.events("reading") if event["type"] == "session.usage"][-1]["usage"]
    assert usage["server_tool_use"] == {"web_search_requests": 1, "web_fetch_requests": 0}
    assert sandboxes(namespace) == []


@requirement("web-fetch", "web-search")
def test_an_agent_s_own_domains_and_an_installation_without_a_search_are_told_to_the_model(
    namespace: Namespace,
) -> None:
    configs = [{"name": "web_fetch", "allowedDomains": ["example.com"]}]
    tools = [{"type": "agent_toolset_20260401", "configs": configs}]
    namespace.apply(managed("Agent", "careful", {"model": {"id": "simulated"}, "tools": tools}))
    steps = script(
        {"tool": "web_fetch", "input": {"url": "https://elsewhere.example/"}},
        {"tool": "web_search", "input": {"query": "rain"}},
        {"text": "Done."},
    )
    namespace.create_session("careful", message("look", steps), agent="careful")
    namespace.wait_idle("careful", seconds=120)
    fetched, searched = results(namespace, "careful")
    assert fetched["content"][0]["text"].startswith("url_not_allowed: elsewhere.example is not among the domains")
    assert "--web-search of the operator" in searched["content"][0]["text"]
    assert fetched["is_error"]
    assert searched["is_error"]
    assert sandboxes(namespace) == []


def results(namespace: Namespace, session: str) -> list[Any]:
    """The results of a session's calls, in order."""
    return [event for event in namespace.events(session) if event["type"] == "agent.tool_result"]


def sandboxes(namespace: Namespace) -> list[str]:
    """The sandbox Pods of a namespace."""
    pods = namespace.select("pods", "app.kubernetes.io/component=sandbox")
    return [pod["metadata"]["name"] for pod in pods]
