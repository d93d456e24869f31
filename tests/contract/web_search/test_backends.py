"""One contract for all back ends of the web search, on answers in the shapes that they give."""

import json
from pathlib import Path
from typing import Any

import pytest

from managed_agents.contracts.web_search import ENDPOINTS, KEYLESS
from managed_agents.proxy.web.domains import DomainRules
from managed_agents.proxy.web.search.backend import HITS_MAX, Hit, Query
from managed_agents.proxy.web.search.searching import BACKENDS
from support.requirements import requirement

RECORDED = Path(__file__).parent / "recorded"
KEY = "key-canary"


def recorded(name: str) -> Any:
    return json.loads((RECORDED / f"{name}.json").read_text())


def test_every_back_end_that_may_be_chosen_is_there_with_a_recorded_answer() -> None:
    assert set(BACKENDS) == set(ENDPOINTS) == {path.stem for path in RECORDED.iterdir()}


@requirement("web-search")
@pytest.mark.parametrize("name", BACKENDS)
def test_hits_have_address_title_and_plain_excerpt(name: str) -> None:
    first = BACKENDS[name].hits_in(recorded(name))[0]
    assert first.url == "https://kopf.readthedocs.io/en/stable/"
    assert first.title == "Kopf: Kubernetes Operators Framework"
    assert first.text.startswith("Kopf is a framework to build Kubernetes operators in Python")
    assert not set(first.text) & set("<>")


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"results": None, "web": None},
        {"results": {}, "web": {"results": "x"}},
        {"results": [1, None, {"url": 5}, {"title": "x"}], "web": {"results": [1, {"url": None}]}},
    ],
)
def test_what_is_malformed_in_an_answer_is_left_out(name: str, answer: dict[str, Any]) -> None:
    assert BACKENDS[name].hits_in(answer) == []


@pytest.mark.parametrize("name", BACKENDS)
def test_a_result_without_a_title_still_counts(name: str) -> None:
    items = [{"url": "https://a.example/"}]
    answer = {"results": items, "web": {"results": items}}
    assert BACKENDS[name].hits_in(answer) == [Hit(url="https://a.example/", title="", text="")]


@requirement("web-search-key")
@pytest.mark.parametrize("name", BACKENDS)
def test_a_key_goes_into_a_header_and_nowhere_else(name: str) -> None:
    request = BACKENDS[name].request_for(Query(text="kopf"), KEY)
    holding = [header for header, value in request.headers.items() if KEY in value]
    assert holding == ([] if name in KEYLESS else holding)
    assert len(holding) == (0 if name in KEYLESS else 1)
    assert KEY not in request.path
    assert KEY not in json.dumps([dict(request.parameters), request.body])
    assert KEY not in repr(request)


@pytest.mark.parametrize("name", BACKENDS)
def test_allowed_domains_are_part_of_the_question(name: str) -> None:
    query = Query(text="kopf", domains=DomainRules(allowed=("a.example/docs", "b.example")))
    request = BACKENDS[name].request_for(query, KEY)
    asked = json.dumps([dict(request.parameters), request.body])
    assert "a.example" in asked
    assert "/docs" not in asked
    assert "b.example" in asked


def test_brave_s_question() -> None:
    location = {"type": "approximate", "city": "Zürich", "country": "ch", "timezone": "Europe/Zurich", "region": None}
    request = BACKENDS["brave"].request_for(Query(text="rain", location=location), KEY)
    assert request.path == "/res/v1/web/search"
    assert request.parameters == {"q": "rain", "count": str(HITS_MAX), "text_decorations": "false", "country": "CH"}
    assert request.headers == {
        "Accept": "application/json",
        "X-Subscription-Token": KEY,
        "X-Loc-Country": "ch",
        "X-Loc-Timezone": "Europe/Zurich",
    }
    hostile = BACKENDS["brave"].request_for(Query(text="rain", location={"city": "a\r\nX-Evil: 1"}), KEY)
    assert "X-Loc-City" not in hostile.headers


def test_tavily_s_question() -> None:
    blocked = Query(text="rain", domains=DomainRules(blocked=("bad.example", "half.example/path")))
    request = BACKENDS["tavily"].request_for(blocked, KEY)
    assert (request.path, request.headers) == ("/search", {"Authorization": f"Bearer {KEY}"})
    assert request.body == {
        "query": "rain",
        "max_results": HITS_MAX,
        "search_depth": "basic",
        "include_domains": [],
        "exclude_domains": ["bad.example"],
    }


def test_searxng_s_question() -> None:
    request = BACKENDS["searxng"].request_for(Query(text="rain"), "")
    assert (request.path, request.parameters, request.body) == ("/search", {"q": "rain", "format": "json"}, None)


def test_many_or_long_domains_stay_out_of_the_question() -> None:
    many = DomainRules(allowed=tuple(f"d{number}.example" for number in range(6)))
    assert Query(text="rain", domains=many).text_with_sites == "rain"
    assert Query(text="r" * 395, domains=DomainRules(allowed=("a.example",))).text_with_sites == "r" * 395
    assert Query(text="rain", domains=DomainRules(allowed=("a.example",))).text_with_sites == "rain site:a.example"
