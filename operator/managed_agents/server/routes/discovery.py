"""The OpenAPI document, open to all: it shows nothing of any session."""

from collections.abc import Sequence

import orjson
from aiohttp import web

from managed_agents.contracts import names
from managed_agents.server.middleware import json_bytes
from managed_agents.server.openapi import document
from managed_agents.server.routes.route import Route


def add_routes(app: web.Application, routes: Sequence[Route]) -> None:
    """Serve `/openapi.json` for a route table; it is made once."""
    body = orjson.dumps(document(routes, version=names.VERSION))

    async def openapi(_: web.Request) -> web.Response:
        return json_bytes(body)

    app.router.add_get("/openapi.json", openapi)
