"""The tools of MCP servers, as the model is told about them, and the policy of each (API reference §4.2). Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from managed_agents.harness.mcp.client import McpTool
from managed_agents.harness.mcp.names import model_name

MCP_TOOLSET = "mcp_toolset"

REMOTE_TOOLS_MAX = 256
"""Tools over all servers that the model is told about (API reference §14)."""

DESCRIPTION_CHARACTERS_MAX = 16_384
"""As of a custom tool; a longer one is cut."""

SCHEMA_BYTES_MAX = 64 * 1024
"""A tool with a larger schema is left out: every request would carry it."""

_PROPERTY = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
_UNIONS = ("oneOf", "anyOf", "allOf")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteTool:
    """A tool of a server: `name` is its own, `policy` the type of its permission policy."""

    server: str
    name: str
    policy: str
    definition: Mapping[str, Any]


def remote_tools(
    toolsets: Sequence[Mapping[str, Any]], listed: Mapping[str, Sequence[McpTool]]
) -> dict[str, RemoteTool]:
    """Return the enabled tools of servers that could be listed, by the name that the model uses, in a fixed order."""
    found: dict[str, RemoteTool] = {}
    for toolset in toolsets:
        for tool in _enabled(toolset, listed.get(toolset["mcp_server_name"], ())):
            found.setdefault(tool.definition["name"], tool)
    return dict(list(found.items())[:REMOTE_TOOLS_MAX])


def _enabled(toolset: Mapping[str, Any], tools: Sequence[McpTool]) -> Iterator[RemoteTool]:
    server, default = toolset["mcp_server_name"], toolset.get("default_config") or {}
    configs: dict[str, Mapping[str, Any]] = {config["name"]: config for config in toolset.get("configs") or ()}
    for tool in tools:
        config = configs.get(tool.name, {})
        schema = _schema_for(tool.input_schema)
        if schema is not None and setting(config, default, "enabled", absent=True):
            name, policy = model_name(server, tool.name), policy_of(config, default, absent="always_ask")
            text = tool.description[:DESCRIPTION_CHARACTERS_MAX]
            described = {"description": text} if text.strip() else {}
            definition = {"name": name, **described, "input_schema": schema}
            yield RemoteTool(server=server, name=tool.name, policy=policy, definition=definition)


def _schema_for(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a schema that the Messages API takes, or None: one tool that it refuses would end every request.

    Unions at the top are left out, which lets the model send more; the server checks its input itself.
    """
    if schema.get("type", "object") != "object":
        return None
    properties = schema.get("properties")
    if properties is not None and not isinstance(properties, dict):
        return None
    if not all(_PROPERTY.match(name) for name in properties or ()):
        return None
    if len(orjson.dumps(schema)) > SCHEMA_BYTES_MAX:
        return None
    return {"type": "object", **{key: value for key, value in schema.items() if key not in _UNIONS}}


def policy_of(config: Mapping[str, Any], default: Mapping[str, Any], *, absent: str) -> str:
    """Return the type of a tool's permission policy: its own, else its set's, else its kind's."""
    policy = setting(config, default, "permission_policy", absent={"type": absent})
    return str(policy if isinstance(policy, str) else policy["type"])


def setting(config: Mapping[str, Any], default: Mapping[str, Any], key: str, *, absent: Any) -> Any:
    """Return a tool's setting: its own, else its set's, else this."""
    for source in (config, default):
        if source.get(key) is not None:
            return source[key]
    return absent
