"""A refresh as bytes, and what the answers of token endpoints mean."""

from datetime import timedelta
from urllib.parse import parse_qs

import orjson
import pytest

from managed_agents.proxy.oauth.grants import Grant, RefreshTerms, due_at, is_due
from managed_agents.proxy.oauth.token_request import NotRenewed, Renewed, answer_from, request_for
from support.clock import ManualClock
from support.requirements import requirement

TERMS = RefreshTerms(client_id="id", token_endpoint="https://l.example/token", client_auth="none")
GOOD = {"access_token": "a", "token_type": "bearer", "expires_in": 20}


@requirement("mcp-oauth")
def test_what_is_not_said_is_not_asked_for() -> None:
    headers, body = request_for(TERMS, "r")
    assert parse_qs(body.decode()) == {"grant_type": ["refresh_token"], "refresh_token": ["r"], "client_id": ["id"]}
    assert "Authorization" not in headers


@requirement("mcp-oauth")
@pytest.mark.parametrize(
    ("answer", "renewed"),
    [
        (GOOD, Renewed(access_token="a", expires_in=20.0)),
        ({"access_token": "a"}, Renewed(access_token="a")),
        (
            GOOD | {"expires_in": "60", "refresh_token": "r2"},
            Renewed(access_token="a", refresh_token="r2", expires_in=60),
        ),
        (GOOD | {"expires_in": -1, "refresh_token": ""}, Renewed(access_token="a")),
        (GOOD | {"expires_in": "NaN"}, Renewed(access_token="a")),
    ],
)
def test_a_new_token_is_read(answer: dict[str, object], renewed: Renewed) -> None:
    assert answer_from(200, orjson.dumps(answer), "l.example") == renewed


@requirement("mcp-oauth-refused")
@pytest.mark.parametrize(
    ("status", "body", "said", "is_final"),
    [
        (400, {"error": "invalid_grant", "error_description": "hidden"}, "refused with invalid_grant", True),
        (401, {"error": "invalid_client"}, "refused with invalid_client", True),
        (200, {"error": "bad_refresh_token"}, "refused with bad_refresh_token", True),
        (400, {"error": "Hidden: words"}, "refused with status 400", True),
        (404, None, "refused with status 404", True),
        (200, {"access_token": "hidden\r\nvalue"}, "without an access token", False),
        (200, GOOD | {"token_type": "DPoP"}, "another type than bearer", True),
        (200, [1], "without an access token", False),
        (302, None, "no redirect is followed", False),
        (429, None, "answered with status 429", False),
        (503, {"error": "invalid_grant"}, "answered with status 503", False),
    ],
)
def test_a_refusal_is_told_in_our_words(status: int, body: object, said: str, is_final: bool) -> None:
    found = answer_from(status, orjson.dumps(body), "l.example")
    assert isinstance(found, NotRenewed)
    assert said in found.message
    assert "idden" not in found.message
    assert found.is_final == is_final


@requirement("mcp-oauth")
def test_a_token_is_due_before_it_ends_and_a_wrong_wall_clock_changes_nothing_for_our_own() -> None:
    clock = ManualClock()
    ends = clock.now() + timedelta(seconds=60)
    others, ours = (
        Grant(access_token="a", expires_at=ends),
        Grant(access_token="a", due_at=due_at(60, clock.monotonic())),
    )
    brief = Grant(access_token="a", due_at=due_at(2, clock.monotonic()))
    assert not any(is_due(grant, clock) for grant in (others, ours, brief, Grant(access_token="a")))
    clock.advance(1.5)
    assert is_due(brief, clock)
    clock.advance(54)
    assert is_due(ours, clock)
    assert is_due(others, clock)
    clock.skew(timedelta(hours=-1))
    assert is_due(ours, clock)
