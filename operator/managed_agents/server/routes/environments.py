"""The public calls on Environments (API reference §3.2); the work queue of self-hosted ones comes later."""

from functools import partial

from aiohttp import web

from managed_agents.contracts.errors import NotFoundError
from managed_agents.kube.resources import Manifest
from managed_agents.server.bodies.environments import EnvironmentCreate, EnvironmentUpdate
from managed_agents.server.context import context_of
from managed_agents.server.middleware import json_response
from managed_agents.server.routes import access
from managed_agents.server.routes.agents import INCLUDE_ARCHIVED, LIMIT, PAGE
from managed_agents.server.routes.bodies import json_object
from managed_agents.server.routes.route import Route
from managed_agents.server.services.environments import Environments, view
from managed_agents.server.services.errors import EnvironmentNotFoundError
from managed_agents.server.services.paging import parse_window
from managed_agents.server.validation import checked

RESOURCE = "environments"


async def create_environment(request: web.Request) -> web.Response:
    """Create an Environment."""
    workspace = await access.workspace(request, "create", RESOURCE)
    body = checked(EnvironmentCreate, await json_object(request))
    return json_response(await _environments(request).create(workspace.namespace, body))


async def retrieve_environment(request: web.Request) -> web.Response:
    """Return an Environment."""
    return json_response(view(await _environment(request, "get")))


async def update_environment(request: web.Request) -> web.Response:
    """Change an Environment."""
    environment = await _environment(request, "update")
    body = checked(EnvironmentUpdate, await json_object(request))
    return json_response(await _environments(request).update(environment, body))


async def list_environments(request: web.Request) -> web.Response:
    """List a workspace's Environments, newest first."""
    workspace = await access.workspace(request, "list", RESOURCE)
    secret = context_of(request).log.secret
    window = parse_window(request.query, f"environments\n{workspace.namespace}", secret)
    data, cursor = _environments(request).page(workspace.namespace, request.query, window, secret)
    return json_response({"data": data, "next_page": cursor})


async def delete_environment(request: web.Request) -> web.Response:
    """Delete an Environment that no living session uses."""
    return json_response(await _environments(request).delete(await _environment(request, "delete")))


async def archive_environment(request: web.Request) -> web.Response:
    """Archive an Environment: it takes no new sessions, for ever."""
    return json_response(await _environments(request).archive(await _environment(request, "update")))


def _environments(request: web.Request) -> Environments:
    context = context_of(request)
    return Environments(objects=context.objects, clock=context.clock)


async def _environment(request: web.Request, verb: str) -> Manifest:
    """Return the Environment of the path for a caller who may do this.

    Raises: EnvironmentNotFoundError, also when the caller may not see it.
    """
    await access.caller(request)
    environment_id = request.match_info["environment_id"]
    shown = f"environment {environment_id}"
    try:
        environment = context_of(request).objects.environments.get(environment_id)
        metadata = environment["metadata"]
        await access.permitted(request, verb, RESOURCE, metadata["namespace"], metadata["name"], shown)
    except NotFoundError:
        raise EnvironmentNotFoundError(f"{shown} not found") from None
    return environment


ROUTES = (
    Route(
        method="POST",
        path="/v1/environments",
        handler=create_environment,
        family="environments",
        summary="Create an environment.",
        answers="environment",
        body=EnvironmentCreate,
        permit=partial(access.workspace, verb="create", resource=RESOURCE),
    ),
    Route(
        method="GET",
        path="/v1/environments",
        handler=list_environments,
        family="environments",
        summary="List environments, newest first.",
        answers="list of environment",
        query=(INCLUDE_ARCHIVED, LIMIT, PAGE),
    ),
    Route(
        method="GET",
        path="/v1/environments/{environment_id}",
        handler=retrieve_environment,
        family="environments",
        summary="Retrieve an environment.",
        answers="environment",
    ),
    Route(
        method="POST",
        path="/v1/environments/{environment_id}",
        handler=update_environment,
        family="environments",
        summary="Change an environment; fields that are left out stay.",
        answers="environment",
        body=EnvironmentUpdate,
        permit=partial(_environment, verb="update"),
    ),
    Route(
        method="DELETE",
        path="/v1/environments/{environment_id}",
        handler=delete_environment,
        family="environments",
        summary="Delete an environment that no living session uses.",
        answers="environment_deleted",
    ),
    Route(
        method="POST",
        path="/v1/environments/{environment_id}/archive",
        handler=archive_environment,
        family="environments",
        summary="Archive an environment, for ever.",
        answers="environment",
        permit=partial(_environment, verb="update"),
    ),
)
