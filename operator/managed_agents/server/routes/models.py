"""The public calls on models (API reference §3.8): what the workspace's ModelProviders serve."""

from aiohttp import web

from managed_agents.kube.resources import Manifest
from managed_agents.server.context import context_of
from managed_agents.server.middleware import json_response
from managed_agents.server.routes import access
from managed_agents.server.routes.route import Query, Route
from managed_agents.server.services.models import (
    LIFECYCLES,
    LIMIT_DEFAULT,
    LIMIT_MAX,
    model_named,
    page_of,
    parse_page,
)

RESOURCE = "modelproviders"


async def list_models(request: web.Request) -> web.Response:
    """List the models that ModelProviders name."""
    providers = await _providers(request)
    return json_response(page_of(providers, parse_page(request.query.items())))


async def retrieve_model(request: web.Request) -> web.Response:
    """Return a model."""
    return json_response(model_named(await _providers(request), request.match_info["model_id"]))


async def _providers(request: web.Request) -> list[Manifest]:
    workspace = await access.workspace(request, "list", RESOURCE)
    return context_of(request).objects.model_providers.in_namespace(workspace.namespace)


ROUTES = (
    Route(
        method="GET",
        path="/v1/models",
        handler=list_models,
        family="models",
        summary="List the models of the workspace's ModelProviders.",
        answers="list of model",
        query=(
            Query(name="after_id", summary="The page after this model."),
            Query(name="before_id", summary="The page before this model."),
            Query(name="lifecycle", schema={"type": "string", "enum": list(LIFECYCLES)}, is_list=True),
            Query(
                name="limit",
                schema={"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT},
                summary="Items of a page.",
            ),
        ),
    ),
    Route(
        method="GET",
        path="/v1/models/{model_id}",
        handler=retrieve_model,
        family="models",
        summary="Retrieve a model.",
        answers="model",
    ),
)
