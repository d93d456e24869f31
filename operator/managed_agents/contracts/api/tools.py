"""An agent's tools and model in the form that the API shows: every default said (API reference §4.1, §4.2). Pure.

Resolving is idempotent: what is resolved already stays as it is.
"""

from collections.abc import Mapping, Sequence
from typing import Any

AGENT_TOOLSET = "agent_toolset_20260401"
MCP_TOOLSET = "mcp_toolset"
CUSTOM = "custom"

BUILT_IN = ("bash", "read", "write", "edit", "glob", "grep", "web_fetch", "web_search")
"""The tools of the agent toolset (API reference §8)."""

ALWAYS_ALLOW = "always_allow"
ALWAYS_ASK = "always_ask"

_WEB_FIELDS: Mapping[str, tuple[str, ...]] = {
    "web_search": ("allowed_domains", "blocked_domains", "user_location"),
    "web_fetch": ("allowed_domains", "blocked_domains", "max_content_tokens", "url_sources"),
}
_LOCATION_FIELDS = ("city", "region", "country", "timezone")
_URL_SOURCES = ("user_input", "client_tool_results", "server_tool_results")

_EFFORT_DEFAULT = "high"
_EFFORT_MODELS = (
    *("claude-fable-", "claude-opus-5", "claude-opus-4-8", "claude-opus-4-7", "claude-opus-4-6"),
    *("claude-sonnet-5", "claude-sonnet-4-6", "claude-haiku-5"),
)
"""Beginnings of the ids of models that take an effort. Of others we do not know, and say nothing."""


def resolved_model(model: Mapping[str, Any]) -> dict[str, Any]:
    """Say a model's effort where it is known, and its speed."""
    model_id = str(model["id"])
    default = {"type": _EFFORT_DEFAULT} if model_id.startswith(_EFFORT_MODELS) else None
    return {
        "id": model_id,
        "effort": model.get("effort") or default,
        "inference_geo": model.get("inference_geo"),
        "speed": model.get("speed") or "standard",
    }


def resolved_tools(tools: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Resolve each entry of `tools`."""
    return [_resolved(tool) for tool in tools]


def _resolved(tool: Mapping[str, Any]) -> dict[str, Any]:
    match tool["type"]:
        case "agent_toolset_20260401":
            default = _default(tool.get("default_config"), ALWAYS_ALLOW)
            configs = [_built_in(config, default) for config in tool.get("configs") or ()]
            return {"type": AGENT_TOOLSET, "default_config": default, "configs": configs}
        case "mcp_toolset":
            default = _default(tool.get("default_config"), ALWAYS_ASK)
            configs = [{"name": config["name"], **_switches(config, default)} for config in tool.get("configs") or ()]
            named = {"type": MCP_TOOLSET, "mcp_server_name": tool["mcp_server_name"]}
            return {**named, "default_config": default, "configs": configs}
        case _:
            return {key: tool[key] for key in ("type", "name", "description", "input_schema") if key in tool}


def _default(config: Mapping[str, Any] | None, policy: str) -> dict[str, Any]:
    return _switches(config or {}, {"enabled": True, "permission_policy": {"type": policy}})


def _switches(config: Mapping[str, Any], default: Mapping[str, Any]) -> dict[str, Any]:
    enabled = config.get("enabled")
    policy = config.get("permission_policy") or default["permission_policy"]
    return {
        "enabled": default["enabled"] if enabled is None else enabled,
        "permission_policy": {"type": policy["type"]},
    }


def _built_in(config: Mapping[str, Any], default: Mapping[str, Any]) -> dict[str, Any]:
    name = config["name"]
    resolved = {"type": name, "name": name, **_switches(config, default)}
    for field in _WEB_FIELDS.get(name, ()):
        resolved[field] = _web_field(field, config.get(field))
    return resolved


def _web_field(field: str, value: Any) -> Any:
    if value is None:
        return None
    if field == "user_location":
        return {"type": "approximate"} | {name: value.get(name) for name in _LOCATION_FIELDS}
    if field == "url_sources":
        return {name: _source(value.get(name)) for name in _URL_SOURCES}
    return value


def _source(value: str | Mapping[str, Any] | None) -> dict[str, Any]:
    """Bring `"all"` and `{"type": "all"}` to one form; a source that is not named is open."""
    if value is None or isinstance(value, str):
        return {"type": value or "all"}
    tools = [{"type": "tool_reference", "name": tool["name"]} for tool in value.get("tools") or ()]
    return {"type": value["type"]} | ({"tools": tools} if tools else {})
