"""The setting that says who answers web searches."""

from decimal import Decimal

import pytest

from managed_agents.contracts.web_search import parse_web_search


def test_nothing_is_no_search() -> None:
    assert parse_web_search(" ") is None


def test_a_commercial_back_end_has_its_own_address_and_needs_a_key() -> None:
    found = parse_web_search('{"backend": "brave", "thousand_price": "5.5"}')
    assert found is not None
    assert (found.endpoint, found.needs_key) == ("https://api.search.brave.com", True)
    assert found.thousand_price == Decimal("5.5")


def test_a_searxng_is_where_the_administrator_says_and_needs_none() -> None:
    found = parse_web_search('{"backend": "searxng", "endpoint": "http://searxng.search.svc:8080/"}')
    assert found is not None
    assert (found.endpoint, found.needs_key) == ("http://searxng.search.svc:8080", False)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "not JSON"),
        ('{"backend": "google"}', "backend: 'google' is not one of searxng, brave, tavily"),
        ('{"backend": "searxng"}', "endpoint: an http or https URL"),
        ('{"backend": "brave", "endpoint": "ftp://x"}', "endpoint: "),
        ('{"backend": "brave", "endpoint": "https://key@x"}', "endpoint: "),
        ('{"backend": "brave", "endpoint": "http://x:99999"}', "endpoint: "),
        ('{"backend": "brave", "key": "x"}', "unknown key 'key'"),
        ('{"backend": "brave", "thousand_price": -1}', "thousand_price: -1 is not"),
        ('{"backend": "brave", "thousand_price": "NaN"}', "thousand_price: 'NaN' is not"),
    ],
)
def test_a_wrong_setting_names_its_key(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_web_search(text)
