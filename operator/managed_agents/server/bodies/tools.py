"""The three kinds of `tools` entries (API reference §4.2). What holds between entries is in services/agent_rules.py."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from managed_agents.contracts.api.tools import BUILT_IN
from managed_agents.server.bodies.domains import DOMAINS_MAX, check_domains
from managed_agents.server.bodies.schemas import check_input_schema
from managed_agents.server.validation import Body

TOOLS_MAX = 128
"""Entries of `tools`."""

CUSTOM_DESCRIPTION_LENGTH_MAX = 16_384
"""Ours: what a custom resource holds."""

MAX_CONTENT_TOKENS_MAX = 100_000_000


class Policy(Body):
    """Whether a tool runs unasked."""

    type: Literal["always_allow", "always_ask", "auto"]

    @model_validator(mode="after")
    def _is_built(self) -> "Policy":
        if self.type == "auto":
            raise ValueError("auto is not supported by this server yet; use always_allow or always_ask")
        return self


class DefaultConfig(Body):
    """What holds for the tools of a set that no entry of `configs` names."""

    enabled: bool | None = None
    permission_policy: Policy | None = None


class _Config(DefaultConfig):
    """One tool's own settings."""


class SandboxConfig(_Config):
    """Settings of a tool that runs in the sandbox."""

    name: Literal["bash", "read", "write", "edit", "glob", "grep"]
    type: Literal["bash", "read", "write", "edit", "glob", "grep"] | None = None

    @model_validator(mode="after")
    def _type_is_name(self) -> "SandboxConfig":
        if self.type not in (None, self.name):
            raise ValueError(f"type must equal name, {self.name!r}")
        return self


def _searched(domains: list[str]) -> list[str]:
    check_domains(domains, allow_path=True)
    return domains


def _fetched(domains: list[str]) -> list[str]:
    check_domains(domains, allow_path=False)
    return domains


_Listed = Annotated[list[str], Field(min_length=1, max_length=DOMAINS_MAX)]
SearchDomains = Annotated[_Listed, AfterValidator(_searched)]
FetchDomains = Annotated[_Listed, AfterValidator(_fetched)]
_Text = Annotated[str, Field(min_length=1, max_length=255)]


class UserLocation(Body):
    """Where a web search is made from, roughly."""

    type: Literal["approximate"]
    city: _Text | None = None
    region: _Text | None = None
    country: Annotated[str, Field(min_length=2, max_length=2)] | None = None
    timezone: _Text | None = None


class WebSearchConfig(_Config):
    """Settings of the web search."""

    name: Literal["web_search"]
    type: Literal["web_search"] | None = None
    allowed_domains: SearchDomains | None = None
    blocked_domains: SearchDomains | None = None
    user_location: UserLocation | None = None

    @model_validator(mode="after")
    def _one_list(self) -> "WebSearchConfig":
        _require_one_list(self.allowed_domains, self.blocked_domains)
        return self


def _typed(value: Any) -> Any:
    return {"type": value} if isinstance(value, str) else value


class Everything(Body):
    """All of a source, or nothing of it."""

    type: Literal["all", "none"]


class ToolReference(Body):
    """A tool by its name."""

    type: Literal["tool_reference"]
    name: Annotated[str, Field(min_length=1, max_length=128)]


class ToolFilter(Body):
    """The results of some tools."""

    type: Literal["all", "none", "only", "except"]
    tools: Annotated[list[ToolReference], Field(min_length=1, max_length=128)] | None = None

    @model_validator(mode="after")
    def _names_tools(self) -> "ToolFilter":
        if (self.type in ("only", "except")) != (self.tools is not None):
            raise ValueError("tools is required for only and except, and for no other type")
        names = [tool.name for tool in self.tools or ()]
        if len(set(names)) < len(names):
            raise ValueError("tools: each name may stand once")
        return self


_Shorthand = Literal["all", "none"]
UserInput = Annotated[Everything, BeforeValidator(_typed, json_schema_input_type=_Shorthand | Everything)]
ToolResults = Annotated[ToolFilter, BeforeValidator(_typed, json_schema_input_type=_Shorthand | ToolFilter)]


class UrlSources(Body):
    """Where the addresses come from that may be fetched."""

    user_input: UserInput | None = None
    client_tool_results: ToolResults | None = None
    server_tool_results: ToolResults | None = None

    @model_validator(mode="after")
    def _not_all_none(self) -> "UrlSources":
        sources = (self.user_input, self.client_tool_results, self.server_tool_results)
        if all(source is not None and source.type == "none" for source in sources):
            raise ValueError("at least one source must not be none; disable web_fetch instead")
        return self


class WebFetchConfig(_Config):
    """Settings of the web fetch."""

    name: Literal["web_fetch"]
    type: Literal["web_fetch"] | None = None
    allowed_domains: FetchDomains | None = None
    blocked_domains: FetchDomains | None = None
    max_content_tokens: Annotated[int, Field(ge=1, le=MAX_CONTENT_TOKENS_MAX)] | None = None
    url_sources: UrlSources | None = None

    @model_validator(mode="after")
    def _one_list(self) -> "WebFetchConfig":
        _require_one_list(self.allowed_domains, self.blocked_domains)
        return self


def _require_one_list(allowed: list[str] | None, blocked: list[str] | None) -> None:
    if allowed is not None and blocked is not None:
        raise ValueError("allowed_domains and blocked_domains exclude each other; send one of them")


BuiltInConfig = Annotated[SandboxConfig | WebSearchConfig | WebFetchConfig, Field(discriminator="name")]


class AgentToolset(Body):
    """The built-in tools."""

    type: Literal["agent_toolset_20260401"]
    default_config: DefaultConfig | None = None
    configs: Annotated[list[BuiltInConfig], Field(max_length=len(BUILT_IN))] | None = None


class McpToolConfig(_Config):
    """Settings of one tool of an MCP server."""

    name: Annotated[str, Field(min_length=1, max_length=255)]


class McpToolset(Body):
    """The tools of an MCP server."""

    type: Literal["mcp_toolset"]
    mcp_server_name: Annotated[str, Field(min_length=1, max_length=255)]
    default_config: DefaultConfig | None = None
    configs: Annotated[list[McpToolConfig], Field(max_length=TOOLS_MAX)] | None = None


def _schema(value: dict[str, Any]) -> dict[str, Any]:
    check_input_schema(value)
    return value


class CustomTool(Body):
    """A tool that the client runs."""

    type: Literal["custom"]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,128}$")]
    description: Annotated[str, Field(min_length=1, max_length=CUSTOM_DESCRIPTION_LENGTH_MAX)]
    input_schema: Annotated[dict[str, Any], AfterValidator(_schema)]

    @model_validator(mode="after")
    def _name_is_free(self) -> "CustomTool":
        if self.name in BUILT_IN or self.name.startswith("mcp__"):
            raise ValueError(f"name: {self.name!r} is reserved for built-in and MCP tools; choose another")
        return self


Tool = Annotated[AgentToolset | McpToolset | CustomTool, Field(discriminator="type")]
Tools = Annotated[list[Tool], Field(max_length=TOOLS_MAX)]


class McpServer(Body):
    """An MCP server that the agent connects to."""

    type: Literal["url"]
    name: Annotated[str, Field(min_length=1, max_length=255)]
    url: Annotated[str, Field(min_length=8, max_length=2048, pattern=r"^https?://[^\s/?#@]+([/?][^\s#]*)?$")]


McpServers = Annotated[list[McpServer], Field(max_length=20)]
