"""web_search through a whole proxy, against servers that answer as each back end does."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from managed_agents.contracts.egress import EgressRules
from managed_agents.contracts.web_search import WebSearchSettings
from support.requirements import requirement
from support.web_pages import Pages, WebBench, pages, text_of, web_bench

RECORDED = Path(__file__).parents[2] / "contract" / "web_search" / "recorded"
PATHS = {"searxng": "/search", "brave": "/res/v1/web/search", "tavily": "/search"}
KEY = "key-canary"


@pytest.fixture
async def provider() -> AsyncIterator[Pages]:
    async with pages() as served:
        yield served


def answering(provider: Pages, backend: str) -> WebSearchSettings:
    """Let a provider answer as this back end does."""
    provider.put(PATHS[backend], (RECORDED / f"{backend}.json").read_bytes(), "application/json")
    return WebSearchSettings(backend=backend, endpoint=f"http://127.0.0.1:{provider.port}")


def searching(folder: Path, settings: WebSearchSettings | None, *, key: str | None = KEY) -> Any:
    """A proxy with this setting and key; no egress rule opens the provider, for its address is the administrator's."""
    file = folder / "api-key"
    file.unlink(missing_ok=True)
    if key is not None:
        file.write_text(f"{key}\n")
    return web_bench(folder, EgressRules(), web_search=settings, web_search_key_file=file)


@requirement("web-search")
@pytest.mark.parametrize("backend", PATHS)
async def test_hits_become_search_results_that_can_be_cited(provider: Pages, tmp_path: Path, backend: str) -> None:
    async with searching(tmp_path, answering(provider, backend)) as bench:
        result = await bench.execute("web_search", {"query": "kopf kubernetes"})
    first = result["content"][0]
    assert first.pop("content")[0]["text"].startswith("Kopf is a framework")
    assert first == {
        "type": "search_result",
        "source": "https://kopf.readthedocs.io/en/stable/",
        "title": "Kopf: Kubernetes Operators Framework",
        "citations": {"enabled": True},
    }
    assert (result["is_error"], result["searches"]) == (False, 1)


@requirement("web-search")
@pytest.mark.parametrize("backend", PATHS)
async def test_blocked_hits_are_left_out(provider: Pages, tmp_path: Path, backend: str) -> None:
    async with searching(tmp_path, answering(provider, backend)) as bench:
        for config in ({"blocked_domains": ["example.com"]}, {"allowed_domains": ["readthedocs.io"]}):
            result = await bench.execute("web_search", {"query": "kopf"}, config)
            assert "https://blocked.example.com/page" not in {block["source"] for block in result["content"]}
            assert result["content"][0]["source"] == "https://kopf.readthedocs.io/en/stable/"
        below = await bench.execute("web_search", {"query": "kopf"}, {"allowed_domains": ["readthedocs.io/de"]})
        assert (below["is_error"], text_of(below)) == (False, "No results.")


@requirement("web-search-key")
async def test_the_key_is_read_anew_after_a_rotation_and_never_shown(
    provider: Pages, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with searching(tmp_path, answering(provider, "brave")) as bench:
        await bench.execute("web_search", {"query": "private words"})
        fresh = tmp_path / "fresh"
        fresh.write_text("second-canary")
        fresh.rename(tmp_path / "api-key")
        await bench.execute("web_search", {"query": "private words"})
        provider.answers[PATHS["brave"]] = web.Response(status=401, text="bad key second-canary")
        refused = await bench.execute("web_search", {"query": "private words"})
    assert [headers["x-subscription-token"] for headers in provider.headers] == [KEY, "second-canary", "second-canary"]
    assert text_of(refused).startswith("unavailable: the search provider refuses the installation's key")
    logged = capsys.readouterr().out
    assert "search" in logged
    for secret in (KEY, "second-canary", "private"):
        assert secret not in logged
        assert secret not in orjson.dumps(refused).decode()


@requirement("web-search")
async def test_without_a_back_end_or_a_key_the_model_is_told_what_an_administrator_must_do(
    provider: Pages, tmp_path: Path
) -> None:
    async with searching(tmp_path, None) as bench:
        result = await bench.execute("web_search", {"query": "kopf"})
        assert (result["is_error"], result["searches"]) == (True, 0)
        assert "--web-search of the operator" in text_of(result)
    settings = answering(provider, "tavily")
    for key in (None, "", "two\nlines"):
        async with searching(tmp_path, settings, key=key) as bench:
            result = await bench.execute("web_search", {"query": "kopf"})
            assert 'of the Secret "web-search" in this namespace' in text_of(result)
    assert provider.asked == []


@pytest.mark.parametrize(
    ("status", "body", "problem"),
    [
        (429, "slow down", "too_many_requests: "),
        (403, "", "unavailable: the search provider does not allow the format json"),
        (500, "trace", "unavailable: the search provider answered with status 500"),
        (200, "<html>", "unavailable: the search provider's answer is no JSON object"),
        (200, "[]", "unavailable: the search provider's answer is no JSON object"),
    ],
)
async def test_a_provider_that_fails_costs_nothing(
    provider: Pages, tmp_path: Path, status: int, body: str, problem: str
) -> None:
    settings = answering(provider, "searxng")
    provider.answers["/search"] = web.Response(status=status, text=body)
    async with searching(tmp_path, settings) as bench:
        result = await bench.execute("web_search", {"query": "kopf"})
    assert (result["is_error"], result["searches"]) == (True, 0)
    assert text_of(result).startswith(problem)


@requirement("A18", "web-search-key")
async def test_a_redirect_takes_no_key_along(provider: Pages, tmp_path: Path) -> None:
    settings = answering(provider, "brave")
    provider.redirect(PATHS["brave"], provider.url("/elsewhere"))
    async with searching(tmp_path, settings) as bench:
        result = await bench.execute("web_search", {"query": "kopf"})
    assert text_of(result) == "unavailable: the search provider answered with status 302"
    assert provider.asked == [f"{PATHS['brave']}?q=kopf&count=10&text_decorations=false"]


async def test_a_provider_that_is_not_there_is_named_without_its_address(tmp_path: Path) -> None:
    settings = WebSearchSettings(backend="searxng", endpoint="http://127.0.0.1:1")
    async with searching(tmp_path, settings) as bench:
        result = await bench.execute("web_search", {"query": "kopf"})
    assert text_of(result).startswith("unavailable: the search provider is unreachable")
    assert "127.0.0.1" not in text_of(result)


@requirement("web-search")
async def test_hostile_hits_are_cleaned_or_left_out(provider: Pages, tmp_path: Path) -> None:
    settings = answering(provider, "searxng")
    hits: list[dict[str, str]] = [
        {"url": "javascript:alert(1)", "title": "x", "content": "x"},
        {"url": "http://127.1/", "title": "x", "content": "x"},
        {"url": "https://a.example/" + "p" * 3000, "title": "x", "content": "x"},
        {"url": "https://a.example/", "title": "a\u202eb", "content": "y" * 5000 + "\x00"},
        *({"url": f"https://a.example/{number}", "title": "t", "content": ""} for number in range(20)),
    ]
    provider.put("/search", orjson.dumps({"results": hits}), "application/json")
    async with searching(tmp_path, settings) as bench:
        result = await bench.execute("web_search", {"query": "kopf"})
    assert [block["source"] for block in result["content"][:2]] == ["https://a.example/", "https://a.example/0"]
    assert (result["content"][0]["title"], len(result["content"][0]["content"][0]["text"])) == ("ab", 2000)
    assert len(result["content"]) == 10


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({}, "invalid_tool_input: query: a text is required"),
        ({"query": " "}, "invalid_tool_input"),
        ({"query": "q" * 401}, "query_too_long"),
    ],
)
async def test_a_question_that_is_none_is_not_asked(
    provider: Pages, tmp_path: Path, given: dict[str, Any], problem: str
) -> None:
    async with searching(tmp_path, answering(provider, "searxng")) as bench:
        assert isinstance(bench, WebBench)
        assert text_of(await bench.execute("web_search", given)).startswith(problem)
    assert provider.asked == []
