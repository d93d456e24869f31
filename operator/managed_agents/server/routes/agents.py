"""The public calls on Agents and their versions (API reference §3.1)."""

from functools import partial

from aiohttp import web

from managed_agents.kube.resources import Manifest
from managed_agents.server.bodies.agents import AgentCreate, AgentUpdate
from managed_agents.server.context import context_of
from managed_agents.server.middleware import json_response
from managed_agents.server.routes import access
from managed_agents.server.routes.bodies import json_object
from managed_agents.server.routes.route import Query, Route
from managed_agents.server.services.agents import Agents
from managed_agents.server.services.paging import LIMIT_DEFAULT, LIMIT_MAX, parse_window
from managed_agents.server.services.query import parse_number
from managed_agents.server.validation import checked

RESOURCE = "agents"
VERSION_MAX = 2**31 - 1

LIMIT = Query(
    name="limit",
    schema={"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT},
    summary="Items of a page.",
)
PAGE = Query(name="page", summary="`next_page` of the page before.")
INCLUDE_ARCHIVED = Query(name="include_archived", schema={"type": "boolean", "default": False})
_MOMENT = {"type": "string", "format": "date-time"}


async def create_agent(request: web.Request) -> web.Response:
    """Create an Agent."""
    workspace = await access.workspace(request, "create", RESOURCE)
    body = checked(AgentCreate, await json_object(request))
    return json_response(await _agents(request).create(workspace.namespace, body))


async def retrieve_agent(request: web.Request) -> web.Response:
    """Return an Agent, or a former version of it."""
    agent = await _agent(request, "get")
    version = parse_number("version", request.query.get("version"), 1, VERSION_MAX)
    return json_response(await _agents(request).retrieve(agent, version))


async def update_agent(request: web.Request) -> web.Response:
    """Change an Agent."""
    agent = await _agent(request, "update")
    body = checked(AgentUpdate, await json_object(request))
    return json_response(await _agents(request).update(agent, body))


async def list_agents(request: web.Request) -> web.Response:
    """List a workspace's Agents, newest first."""
    workspace = await access.workspace(request, "list", RESOURCE)
    secret = context_of(request).log.secret
    window = parse_window(request.query, f"agents\n{workspace.namespace}", secret)
    data, cursor = await _agents(request).page(workspace.namespace, request.query, window, secret)
    return json_response({"data": data, "next_page": cursor})


async def archive_agent(request: web.Request) -> web.Response:
    """Archive an Agent: it takes no new sessions, for ever."""
    return json_response(await _agents(request).archive(await _agent(request, "update")))


async def list_versions(request: web.Request) -> web.Response:
    """List an Agent's versions, newest first."""
    agent = await _agent(request, "get")
    secret = context_of(request).log.secret
    window = parse_window(request.query, f"versions\n{agent['metadata']['uid']}", secret)
    data, cursor = await _agents(request).versions(agent, window, secret)
    return json_response({"data": data, "next_page": cursor})


def _agents(request: web.Request) -> Agents:
    context = context_of(request)
    return Agents(objects=context.objects, clock=context.clock)


async def _agent(request: web.Request, verb: str) -> Manifest:
    """Return the Agent of the path for a caller who may do this. Raises: NotFoundError, also when it may not see it."""
    await access.caller(request)
    agent_id = request.match_info["agent_id"]
    agent = context_of(request).objects.agents.get(agent_id)
    metadata = agent["metadata"]
    await access.permitted(request, verb, RESOURCE, metadata["namespace"], metadata["name"], f"agent {agent_id}")
    return agent


ROUTES = (
    Route(
        method="POST",
        path="/v1/agents",
        handler=create_agent,
        family="agents",
        summary="Create an agent.",
        answers="agent",
        body=AgentCreate,
        permit=partial(access.workspace, verb="create", resource=RESOURCE),
    ),
    Route(
        method="GET",
        path="/v1/agents",
        handler=list_agents,
        family="agents",
        summary="List agents, newest first.",
        answers="list of agent",
        query=(
            Query(name="created_at[gte]", schema=_MOMENT),
            Query(name="created_at[lte]", schema=_MOMENT),
            INCLUDE_ARCHIVED,
            LIMIT,
            PAGE,
        ),
    ),
    Route(
        method="GET",
        path="/v1/agents/{agent_id}",
        handler=retrieve_agent,
        family="agents",
        summary="Retrieve an agent, or a former version of it.",
        answers="agent",
        query=(Query(name="version", schema={"type": "integer", "minimum": 1}, summary="The newest where absent."),),
    ),
    Route(
        method="POST",
        path="/v1/agents/{agent_id}",
        handler=update_agent,
        family="agents",
        summary="Change an agent; fields that are left out stay.",
        answers="agent",
        body=AgentUpdate,
        permit=partial(_agent, verb="update"),
    ),
    Route(
        method="POST",
        path="/v1/agents/{agent_id}/archive",
        handler=archive_agent,
        family="agents",
        summary="Archive an agent, for ever.",
        answers="agent",
        permit=partial(_agent, verb="update"),
    ),
    Route(
        method="GET",
        path="/v1/agents/{agent_id}/versions",
        handler=list_versions,
        family="agents",
        summary="List an agent's versions, newest first.",
        answers="list of agent",
        query=(LIMIT, PAGE),
    ),
)
