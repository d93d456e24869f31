"""The published document: whole, valid, and open to all."""

import aiohttp
import schemathesis

from managed_agents.server.app import PUBLIC_ROUTES
from managed_agents.server.openapi import document, operation_id
from support.server import TestServer


async def test_document_names_every_route_and_needs_no_credential(server: TestServer) -> None:
    async with aiohttp.ClientSession() as http, http.get(f"{server.public_url}/openapi.json") as response:
        assert response.status == 200
        shown = await response.json()
    found = {(method.upper(), path) for path, operations in shown["paths"].items() for method in operations}
    assert found == {(route.method, route.path) for route in PUBLIC_ROUTES}
    assert set(shown["components"]["schemas"]) >= {"Error"}


def test_document_is_valid_and_its_operations_have_names_of_their_own() -> None:
    schema = schemathesis.openapi.from_dict(document(PUBLIC_ROUTES, version="0"))
    schema.validate()
    assert len({operation_id(route) for route in PUBLIC_ROUTES}) == len(PUBLIC_ROUTES)
