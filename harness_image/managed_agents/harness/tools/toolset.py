"""Which tools a session has, and what their policies say about a call (API reference §4.2, §5.5)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

from managed_agents.contracts.events import types
from managed_agents.harness.mcp.client import McpTool
from managed_agents.harness.tools.builtin import BUILTIN
from managed_agents.harness.tools.remote import MCP_TOOLSET, RemoteTool, policy_of, remote_tools, setting
from managed_agents.harness.tools.web import WEB_TOOLS

TOOLSET = "agent_toolset_20260401"

_OFFERED: Mapping[str, Mapping[str, Any]] = {**BUILTIN, **WEB_TOOLS}

Permission = Literal["allow", "ask", "deny"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What becomes of a call: the type of its event, and the fields by which that tells its permission.

    Of an MCP server's tool, `server` is the server's name and `tool` the tool's own.
    """

    event_type: str
    permission: Permission | None
    evaluation: str | None = None
    server: str | None = None
    tool: str | None = None

    @property
    def fields(self) -> dict[str, Any]:
        """Return the event's permission fields; a custom tool has none, a refused one no evaluation."""
        fields: dict[str, Any] = {}
        if self.permission is not None:
            fields["evaluated_permission"] = self.permission
        if self.evaluation is not None:
            fields["evaluation"] = {"type": self.evaluation}
        if self.server is not None:
            fields["mcp_server_name"] = self.server
        return fields

    @property
    def refused(self) -> "Verdict":
        """Return what becomes of a call that can not run at all."""
        return NOT_ENABLED if self.server is None else replace(self, permission="deny", evaluation=None)


_CUSTOM = Verdict(event_type=types.AGENT_CUSTOM_TOOL_USE, permission=None)
NOT_ENABLED = Verdict(event_type=types.AGENT_TOOL_USE, permission="deny")
"""A call refused before any policy applied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolset:
    """A session's tools. `policies` maps each enabled built-in tool to the type of its permission policy, `web` each
    web tool that has settings of its own to them.

    `mcp` are the sets of MCP servers' tools, `remote` what of them the servers offer, by the name that the model uses.
    """

    policies: Mapping[str, str]
    custom: tuple[Mapping[str, Any], ...] = ()
    web: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    mcp: tuple[Mapping[str, Any], ...] = ()
    remote: Mapping[str, RemoteTool] = field(default_factory=dict)

    @classmethod
    def parse(cls, tools: Iterable[Mapping[str, Any]]) -> Self:
        """Read an agent's `tools`; kinds that this version does not build are left out."""
        policies: dict[str, str] = {}
        custom: list[Mapping[str, Any]] = []
        web: dict[str, Mapping[str, Any]] = {}
        mcp: list[Mapping[str, Any]] = []
        for tool in tools:
            if tool["type"] == TOOLSET:
                policies |= _policies_of(tool)
                web |= {config["name"]: config for config in tool.get("configs") or () if config["name"] in WEB_TOOLS}
            elif tool["type"] == "custom":
                custom.append(tool)
            elif tool["type"] == MCP_TOOLSET:
                mcp.append(tool)
        return cls(policies=policies, custom=tuple(custom), mcp=tuple(mcp), web=web)

    def offering(self, listed: Mapping[str, Sequence[McpTool]]) -> "Toolset":
        """Return these tools with what MCP servers offer, as far as it is enabled and the model can be told of it."""
        return replace(self, remote=remote_tools(self.mcp, listed))

    @property
    def definitions(self) -> list[dict[str, Any]]:
        """Return the tools as the Messages API wants them, in a fixed order."""
        builtin = [dict(tool) for name, tool in _OFFERED.items() if name in self.policies]
        custom = [{key: tool[key] for key in ("name", "description", "input_schema")} for tool in self.custom]
        return builtin + custom + [dict(tool.definition) for tool in self.remote.values()]

    def verdict(self, name: str) -> Verdict:
        """Decide on a call of that name; a name that is not enabled here is denied before any policy."""
        policy = self.policies.get(name)
        if policy is not None:
            return _ruled(policy)
        remote = self.remote.get(name)
        if remote is not None:
            ruled, kind = _ruled(remote.policy), types.AGENT_MCP_TOOL_USE
            return replace(ruled, event_type=kind, server=remote.server, tool=remote.name)
        return _CUSTOM if any(tool["name"] == name for tool in self.custom) else NOT_ENABLED


def _ruled(policy: str) -> Verdict:
    # "auto" needs a judgement that this version does not make: a client is asked instead.
    asks = policy != "always_allow"
    evaluation = "always_ask" if asks else "always_allow"
    return Verdict(event_type=types.AGENT_TOOL_USE, permission="ask" if asks else "allow", evaluation=evaluation)


def _policies_of(toolset: Mapping[str, Any]) -> dict[str, str]:
    default = toolset.get("default_config") or {}
    configs: dict[str, Mapping[str, Any]] = {config["name"]: config for config in toolset.get("configs") or ()}
    return {
        name: policy_of(configs.get(name, {}), default, absent="always_allow")
        for name in _OFFERED
        if setting(configs.get(name, {}), default, "enabled", absent=True)
    }
