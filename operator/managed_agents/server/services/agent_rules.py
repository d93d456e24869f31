"""Rules between the fields of an agent, and what a change of one makes of it (API reference §4.1-§4.3). Pure.

All values are in the API's form with defaults resolved, so that a change which says what is already so is none.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from managed_agents.contracts.api import mcp_servers
from managed_agents.contracts.api.agents import spec_value
from managed_agents.contracts.api.casing import camel
from managed_agents.contracts.api.tools import AGENT_TOOLSET, CUSTOM, MCP_TOOLSET, resolved_model, resolved_tools
from managed_agents.contracts.errors import RejectedError
from managed_agents.server.bodies.agents import AgentCreate, AgentUpdate
from managed_agents.server.bodies.fields import METADATA_PAIRS_MAX, ModelConfig
from managed_agents.server.bodies.tools import CustomTool, McpServer, Tool
from managed_agents.server.services.patches import merge_patch, patched_metadata

ALL_TOOLS_MAX = 256
"""Tools over all toolsets (API reference §14)."""

SPEC_BYTES_MAX = 1_000_000
"""A custom resource must fit in etcd's 1.5 MiB, with its metadata and status."""

_FIELDS = ("name", "description", "system", "model", "tools", "mcp_servers", "skills", "multiagent", "metadata")
"""What the API may change, each a field of the spec in camel case."""

_WEB_TOOLS = frozenset({"web_search", "web_fetch"})


def created_fields(body: AgentCreate) -> dict[str, Any]:
    """Return the fields of a new agent. Raises: RejectedError."""
    fields = {
        "name": body.name,
        "description": body.description or None,
        "system": body.system or None,
        "model": model_of(body.model),
        "tools": tools_of(body.tools or ()),
        "mcp_servers": servers_of(body.mcp_servers or ()),
        "metadata": dict(body.metadata or {}),
    }
    check_fields(fields)
    return fields


def updated_fields(current: Mapping[str, Any], body: AgentUpdate) -> dict[str, Any]:
    """Return the fields of an agent after a change (API reference §4.1). Raises: RejectedError."""
    sent = body.model_fields_set
    fields = {name: current[name] for name in _FIELDS}
    if "name" in sent:
        fields["name"] = body.name
    if "description" in sent:
        fields["description"] = body.description or None
    if "system" in sent:
        fields["system"] = body.system or None
    if "model" in sent:
        fields["model"] = model_of(body.model, current["model"])
    if "tools" in sent:
        fields["tools"] = tools_of(body.tools or ())
    if "mcp_servers" in sent:
        fields["mcp_servers"] = servers_of(body.mcp_servers or ())
    if "skills" in sent:
        fields["skills"] = []
    if "multiagent" in sent:
        fields["multiagent"] = None
    fields["metadata"] = patched_metadata(current["metadata"], body.metadata)
    check_fields(fields)
    return fields


def spec_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the spec that holds these fields; what is empty is absent."""
    return {camel(name): _spec_field(name, value) for name, value in fields.items() if value}


def spec_patch(spec: Mapping[str, Any], current: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the merge patch of a spec for the fields that change; what does not stays as its author wrote it."""
    changed = {name: wanted[name] for name in wanted if wanted[name] != current[name]}
    keys = [camel(name) for name in changed]
    return merge_patch({key: spec[key] for key in keys if key in spec}, spec_of(changed))


def model_of(model: ModelConfig, current: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return a model with its options; an effort that is left out stays while the model does."""
    given = model.model_dump(exclude_none=True)
    if current is not None and current["id"] == given["id"] and "effort" not in given:
        given["effort"] = current.get("effort")
    return resolved_model(given)


def tools_of(tools: Sequence[Tool]) -> list[dict[str, Any]]:
    """Return tools with all defaults said."""
    return resolved_tools([_tool(tool) for tool in tools])


def servers_of(servers: Sequence[McpServer]) -> list[dict[str, Any]]:
    """Return MCP servers."""
    return [server.model_dump() for server in servers]


def check_fields(fields: Mapping[str, Any]) -> None:
    """Check what holds between fields. Raises: RejectedError with the path."""
    check_tools(fields["tools"], fields["mcp_servers"])
    if len(fields["metadata"]) > METADATA_PAIRS_MAX:
        text = f"metadata: may hold at most {METADATA_PAIRS_MAX} pairs, would hold {len(fields['metadata'])}"
        raise RejectedError(text, field="metadata", error_code="invalid_metadata")
    size = len(str(fields).encode(errors="replace"))
    if size > SPEC_BYTES_MAX:
        raise RejectedError(f"the agent is too large: about {size} bytes, at most {SPEC_BYTES_MAX} can be kept")


def check_tools(tools: Sequence[Mapping[str, Any]], servers: Sequence[Mapping[str, Any]]) -> None:
    """Check tools and MCP servers against each other. Raises: RejectedError with the path."""
    for path, problem in (*_doubles(tools, servers), *_servers(tools, servers), *_unknown_sources(tools)):
        raise _refused(path, f"{path}: {problem}")
    total = sum(len(tool["configs"]) if tool.get("configs") else 1 for tool in tools)
    if total > ALL_TOOLS_MAX:
        raise _refused("tools", f"tools: may configure at most {ALL_TOOLS_MAX} tools over all toolsets, found {total}")


def _doubles(tools: Sequence[Mapping[str, Any]], servers: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    yield from _repeated(servers, "mcp_servers", "name")
    yield from _repeated([tool if tool["type"] == CUSTOM else {} for tool in tools], "tools", "name")
    yield from _repeated([tool if tool["type"] == MCP_TOOLSET else {} for tool in tools], "tools", "mcp_server_name")
    toolsets = [index for index, tool in enumerate(tools) if tool["type"] == AGENT_TOOLSET]
    if len(toolsets) > 1:
        yield f"tools.{toolsets[1]}", f"at most one entry may be of type {AGENT_TOOLSET}; merge it with the first"
    for index, tool in enumerate(tools):
        yield from _repeated(tool.get("configs") or (), f"tools.{index}.configs", "name")


def _repeated(items: Sequence[Mapping[str, Any]], path: str, key: str) -> Iterator[tuple[str, str]]:
    seen: set[Any] = set()
    for index, item in enumerate(items):
        if key in item and item[key] in seen:
            yield f"{path}.{index}.{key}", f"must be unique, found {item[key]!r} again"
        seen.add(item.get(key))


def _servers(tools: Sequence[Mapping[str, Any]], servers: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    yield from ((problem.path, problem.message) for problem in mcp_servers.problems(tools, servers))


def _unknown_sources(tools: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    custom = {tool["name"] for tool in tools if tool["type"] == CUSTOM}
    known = {
        "client_tool_results": (custom, "a custom tool of tools"),
        "server_tool_results": (_WEB_TOOLS, "a web tool"),
    }
    for index, tool in enumerate(tools):
        for position, config in enumerate(tool.get("configs") or ()):
            for source, (names, what) in known.items():
                listed = ((config.get("url_sources") or {}).get(source) or {}).get("tools") or ()
                for number, reference in enumerate(listed):
                    if reference["name"] not in names:
                        path = f"tools.{index}.configs.{position}.url_sources.{source}.tools.{number}.name"
                        yield path, f"must name {what}, found {reference['name']!r}"


def _tool(tool: Tool) -> dict[str, Any]:
    dumped = tool.model_dump(exclude_none=True)
    if isinstance(tool, CustomTool):
        dumped["input_schema"] = tool.input_schema  # as it came: nulls in a schema are its author's
    return dumped


def _spec_field(name: str, value: Any) -> Any:
    return dict(value) if name == "metadata" else spec_value(value)


def _refused(field: str, message: str) -> RejectedError:
    return RejectedError(message, field=field)
