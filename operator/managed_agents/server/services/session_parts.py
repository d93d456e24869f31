"""What a session is made of, from bodies of the API: overrides, resources, budget, events. Pure.

Values come out in the form of a Session's spec; what is refused names the body's field.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from managed_agents.contracts.api.agents import spec_value, unsupported_fields
from managed_agents.contracts.errors import RejectedError
from managed_agents.contracts.events import types
from managed_agents.server.bodies.sessions import (
    FILES_MAX,
    AgentReference,
    AgentWithOverrides,
    Budget,
    FileResource,
    MemoryStoreResource,
    Resource,
    ResourceAdd,
)
from managed_agents.server.services.agent_rules import check_tools, servers_of, tools_of
from managed_agents.server.services.client_events import file_ids, parse_event

INITIAL_TYPES = (types.USER_MESSAGE, types.USER_DEFINE_OUTCOME)
FILE_DOCUMENTS_MAX = 100
"""Documents given as files, over all initial events (API reference §4.5)."""


def overrides_of(agent: AgentReference | AgentWithOverrides) -> dict[str, Any]:
    """Return `spec.agentOverrides`, empty for none. An effort in an override is ignored (API reference §4.5).

    Raises: RejectedError.
    """
    if not isinstance(agent, AgentWithOverrides):
        return {}
    found: dict[str, Any] = {}
    if "model" in agent.model_fields_set:
        if agent.model is None:
            text = "agent.model: a session needs a model; leave the field out to use the agent's"
            raise RejectedError(text, field="agent.model", error_code="agent_model_required")
        found["model"] = spec_value(agent.model.model_dump(exclude={"effort"}))
    if "system" in agent.model_fields_set:
        found["system"] = agent.system or ""
    if "tools" in agent.model_fields_set:
        found["tools"] = spec_value(tools_of(agent.tools or ()))
    if "mcp_servers" in agent.model_fields_set:
        found["mcpServers"] = spec_value(servers_of(agent.mcp_servers or ()))
    if "skills" in agent.model_fields_set:
        found["skills"] = []
    return found


def check_agent(agent: Mapping[str, Any]) -> None:
    """Check a session's agent as it will run. Raises: RejectedError."""
    if agent.get("skills") and not agent["tools"]:
        raise RejectedError("agent.tools: cannot be cleared while the agent has skills", field="agent.tools")
    try:
        check_tools(agent["tools"], agent["mcp_servers"])
    except RejectedError as refusal:
        field = f"agent.{refusal.field or 'tools'}"
        raise RejectedError(f"agent.{refusal.message}", field=field) from None
    if fields := unsupported_fields(agent):
        text = f"agent: this server does not support {', '.join(fields)} of the agent yet; remove it"
        raise RejectedError(text, reason="NotSupported", field="agent")


def resource_of(resource: Resource | ResourceAdd, path: str) -> dict[str, Any]:
    """Return an entry of `spec.resources`, without a token. Raises: RejectedError for what is not built."""
    if isinstance(resource, MemoryStoreResource):
        raise _not_supported(f"{path}.type", "memory_store")
    if isinstance(resource, FileResource | ResourceAdd):
        entry: dict[str, Any] = {"type": "file", "fileId": resource.file_id}
        return entry | ({"mountPath": resource.mount_path} if resource.mount_path else {})
    found: dict[str, Any] = spec_value(resource.model_dump(exclude={"authorization_token"}))
    return found


def resources_of(resources: Sequence[Resource]) -> list[dict[str, Any]]:
    """Return `spec.resources`. Raises: RejectedError."""
    found = [resource_of(resource, f"resources.{index}") for index, resource in enumerate(resources)]
    check_resources(found)
    return found


def check_resources(resources: Sequence[Mapping[str, Any]]) -> None:
    """Check the entries of `spec.resources` against each other. Raises: RejectedError."""
    files = [entry for entry in resources if entry["type"] == "file"]
    if len(files) > FILES_MAX:
        raise RejectedError(f"resources: at most {FILES_MAX} files, found {len(files)}", field="resources")
    seen: dict[tuple[str, str], int] = {}
    for index, entry in enumerate(resources):
        place = (entry["type"], str(entry.get("mountPath") or entry.get("url") or entry.get("fileId")).strip("/"))
        if place in seen:
            field = f"resources.{index}.mount_path"
            raise RejectedError(f"{field}: is that of resources.{seen[place]} too; choose another", field=field)
        seen[place] = index


def budget_of(budget: Budget) -> dict[str, Any]:
    """Return `spec.budget`."""
    found: dict[str, Any] = spec_value(budget.model_dump())
    return found


def require_priced(model_provider: Mapping[str, Any], model_id: str) -> None:
    """Refuse a budget for a model whose cost nobody knows. Raises: RejectedError."""
    if model_provider.get("list_price") is None:
        name = model_provider.get("name")
        text = f"budget: model {model_id!r} has no list price at ModelProvider {name!r}; give it one"
        raise RejectedError(text, field="budget", error_code="model_not_budgetable")


def initial_events_of(raw: Sequence[Any]) -> list[dict[str, Any]]:
    """Return the events that a session starts with, in the log's form. Raises: RejectedError."""
    events = []
    for index, item in enumerate(raw):
        path = f"initial_events.{index}"
        found = item.get("type") if isinstance(item, dict) else None
        if found not in INITIAL_TYPES:
            allowed = " or ".join(INITIAL_TYPES)
            raise RejectedError(f"{path}.type: must be {allowed}, found {found!r}", field=f"{path}.type")
        events.append(parse_event(item, path))
    named = file_ids(events, initial_paths(events))
    if len(named) > FILE_DOCUMENTS_MAX:
        text = f"initial_events: at most {FILE_DOCUMENTS_MAX} documents may be files, found {len(named)}"
        raise RejectedError(text, field="initial_events")
    return events


def initial_paths(events: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the path of each initial event in the body."""
    return [f"initial_events.{index}" for index in range(len(events))]


def _not_supported(field: str, what: str) -> RejectedError:
    text = f"{field}: {what} is not supported by this server yet; leave it out"
    return RejectedError(text, reason="NotSupported", field=field)
