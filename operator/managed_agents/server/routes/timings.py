"""Where the time of a session's turns went: an addition of this server (docs/observability.md)."""

from aiohttp import web

from managed_agents.contracts.turn_timing import TURNS_KEPT
from managed_agents.server.context import context_of
from managed_agents.server.middleware import json_response
from managed_agents.server.routes import access
from managed_agents.server.routes.route import Query, Route
from managed_agents.server.services.query import parse_number
from managed_agents.server.services.timing_view import timing_view


async def list_timings(request: web.Request) -> web.Response:
    """Return the records of the session's last turns, newest first."""
    session, _ = await access.reader(request)
    limit = parse_number("limit", request.query.get("limit"), 1, TURNS_KEPT) or TURNS_KEPT
    turns = await context_of(request).log.turns(session.id, limit)
    return json_response({"data": [timing_view(timing) for timing in turns], "next_page": None})


ROUTES = (
    Route(
        method="GET",
        path="/v1/sessions/{session_id}/timings",
        handler=list_timings,
        family="sessions",
        summary="Tell where the time of the session's last turns went; an addition of this server",
        answers="list of turn_timing",
        query=(Query(name="limit", schema={"type": "integer", "minimum": 1, "maximum": TURNS_KEPT}),),
    ),
)
"""The public call of a session's timings."""
