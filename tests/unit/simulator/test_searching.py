"""The simulated search engine finds what its question names, in the form that the proxy reads."""

from managed_agents.proxy.web.search.backend import Hit
from managed_agents.proxy.web.search.searxng import SearXng
from managed_agents.simulator.searching import search


def test_a_question_is_answered_with_the_addresses_that_it_names() -> None:
    found = search("rain http://a.example/x in (https://b.example/) http://a.example/x")
    assert SearXng().hits_in(found) == [
        Hit(url="http://a.example/x", title="Result 1", text="About rain in ( )."),
        Hit(url="https://b.example/", title="Result 2", text="About rain in ( )."),
    ]


def test_a_question_without_an_address_finds_one_all_the_same() -> None:
    assert [hit.url for hit in SearXng().hits_in(search("rain"))] == ["https://example.com/"]
