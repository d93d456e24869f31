"""docs/api-compatibility.md says of each route and event what the server does."""

import re
from pathlib import Path
from typing import get_args

from anthropic.types.beta.sessions import BetaManagedAgentsSessionEvent, BetaManagedAgentsStreamSessionEvents

from managed_agents.server.app import PUBLIC_ROUTES
from managed_agents.server.services.event_types import LISTED

REGISTER = (Path(__file__).resolve().parents[3] / "docs" / "api-compatibility.md").read_text()
STATUSES = {"done", "partial", "not yet"}


def routes() -> dict[tuple[str, str], str]:
    rows = re.findall(r"^\| (GET|POST|DELETE) \| `([^`]+)` \| ([a-z ]+) \|", REGISTER, re.MULTILINE)
    return {(method, path): status for method, path, status in rows}


def events() -> dict[str, str]:
    return dict(re.findall(r"^\| `([a-z_.]+)` \| ([a-z ]+) \|", REGISTER, re.MULTILINE))


def test_register_lists_exactly_the_routes_that_are_served() -> None:
    served = {(route.method, re.sub(r"\{\w+\}", "{}", route.path)) for route in PUBLIC_ROUTES}
    assert set(routes().values()) <= STATUSES
    assert {route for route, status in routes().items() if status != "not yet"} == served


def test_register_lists_every_event_of_the_sdk() -> None:
    sdk = set()
    for union in (BetaManagedAgentsSessionEvent, BetaManagedAgentsStreamSessionEvents):
        members = get_args(get_args(union)[0])
        sdk |= {get_args(member.model_fields["type"].annotation)[0] for member in members}
    assert set(events()) == sdk
    assert set(events().values()) <= STATUSES
    assert set(events()) - {"session.deleted", "event_start", "event_delta"} == LISTED


def test_partial_entries_say_how_they_differ() -> None:
    silent = re.findall(r"^\| .*\| partial \| \|$", REGISTER, re.MULTILINE)
    assert silent == []
