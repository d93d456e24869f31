"""What a body of an agent may say, and how a refusal names what is wrong."""

from typing import Any

import pytest

from managed_agents.contracts.errors import RejectedError
from managed_agents.server.bodies.agents import AgentCreate, AgentUpdate
from managed_agents.server.bodies.domains import domain_problem
from managed_agents.server.bodies.schemas import check_input_schema
from managed_agents.server.services.agent_rules import created_fields, updated_fields
from managed_agents.server.validation import checked

SERVER: dict[str, Any] = {"type": "url", "name": "git", "url": "https://mcp.example.com/git"}
MCP: dict[str, Any] = {"type": "mcp_toolset", "mcp_server_name": "git"}


def custom(name: str = "look", **changes: Any) -> dict[str, Any]:
    return {"type": "custom", "name": name, "description": "Looks.", "input_schema": {"type": "object"}} | changes


def toolset(*configs: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"type": "agent_toolset_20260401", "configs": list(configs)} | changes


def body(**changes: Any) -> dict[str, Any]:
    return {"name": "bot", "model": "m"} | changes


def fetch(**changes: Any) -> dict[str, Any]:
    return body(tools=[toolset({"name": "web_fetch", **changes})])


def sources(**changes: Any) -> dict[str, Any]:
    return fetch(url_sources=changes)


ONLY = {"type": "only", "tools": [{"type": "tool_reference", "name": "look"}]}
AUTO = {"permission_policy": {"type": "auto"}}

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"model": "m"}, "name: is required"),
    ({"name": "bot"}, "model: is required"),
    (body(name=""), "name: String should have at least 1 character"),
    (body(name="n" * 257), "name: String should have at most 256 characters; found 257 characters"),
    (body(name=3), "name: Input should be a valid string; found 3"),
    (body(model=""), "model.id: String should have at least 1 character"),
    (body(model={"id": "m", "effort": "huge"}), "model.effort.type: Input should be 'low'"),
    (body(model={"id": "m", "inference_geo": "eu"}), "model.inference_geo: Input should be 'us' or 'global'"),
    (body(model={"id": "m", "temperature": 1}), "model.temperature: this field is not known here"),
    (body(description="d" * 2049), "description: String should have at most 2048"),
    (body(system="s" * 100_001), "system: String should have at most 100000"),
    (body(metadata={"": "x"}), "metadata: String should have at least 1"),
    (body(metadata={"a": "v" * 513}), "metadata.a: String should have at most 512"),
    (body(metadata={str(index): "" for index in range(17)}), "metadata: Dictionary should have at most 16"),
    (body(skills=[{"type": "anthropic", "skill_id": "xlsx"}]), "skills: skills are not supported by this server yet"),
    (body(multiagent={"type": "coordinator"}), "multiagent: multiagent is not supported by this server yet"),
    (body(execution_identity={"type": "aws_role", "role_arn": "x"}), "execution_identity.type: Input should be"),
    (body(tools=[{"type": "shell"}]), "tools.0: Input tag 'shell'"),
    (body(tools=[custom()] * 129), "tools: List should have at most 128 items"),
    (body(tools=[custom(), custom()]), "tools.1.name: must be unique, found 'look' again"),
    (body(tools=[custom("bash")]), "tools.0: name: 'bash' is reserved"),
    (body(tools=[custom("mcp__x")]), "tools.0: name: 'mcp__x' is reserved"),
    (body(tools=[custom("a b")]), "tools.0.name: String should match pattern"),
    (body(tools=[custom(description="")]), "tools.0.description: String should have at least 1"),
    (body(tools=[custom(input_schema={"type": "array"})]), 'tools.0.input_schema: type must be "object"'),
    (body(tools=[toolset(), toolset()]), "tools.1: at most one entry may be of type agent_toolset_20260401"),
    (body(tools=[toolset(default_config=AUTO)]), "tools.0.default_config.permission_policy: auto is not supported"),
    (body(tools=[toolset({"name": "bash", **AUTO})]), "tools.0.configs.0.permission_policy: auto is not supported"),
    (body(tools=[toolset({"name": "vim"})]), "tools.0.configs.0: Input tag 'vim'"),
    (body(tools=[toolset({"name": "bash", "type": "read"})]), "tools.0.configs.0: type must equal name"),
    (body(tools=[toolset({"name": "bash"}, {"name": "bash"})]), "tools.0.configs.1.name: must be unique"),
    (body(tools=[toolset({"name": "bash", "allowed_domains": ["a.com"]})]), "tools.0.configs.0.allowed_domains: this"),
    (fetch(allowed_domains=[]), "tools.0.configs.0.allowed_domains: List should have at least 1 item"),
    (fetch(allowed_domains=["a.com"], blocked_domains=["b.com"]), "tools.0.configs.0: allowed_domains and blocked"),
    (fetch(allowed_domains=["a.com", "A.com"]), "tools.0.configs.0.allowed_domains: entry 1: repeats entry 0"),
    (fetch(allowed_domains=["a.com/docs"]), "tools.0.configs.0.allowed_domains: entry 0: a path is not supported"),
    (fetch(max_content_tokens=0), "tools.0.configs.0.max_content_tokens: Input should be greater than or equal to 1"),
    (
        sources(user_input="none", client_tool_results="none", server_tool_results={"type": "none"}),
        "tools.0.configs.0.url_sources: at least one source must not be none",
    ),
    (sources(client_tool_results={"type": "only"}), "tools.0.configs.0.url_sources.client_tool_results: tools is"),
    (
        sources(client_tool_results=ONLY),
        "tools.0.configs.0.url_sources.client_tool_results.tools.0.name: must name a custom tool",
    ),
    (body(mcp_servers=[SERVER]), "mcp_servers.0.name: no tool of type mcp_toolset names the server 'git'"),
    (body(tools=[MCP]), "tools.0.mcp_server_name: mcp_servers has no server 'git'"),
    (body(tools=[MCP, MCP], mcp_servers=[SERVER]), "tools.1.mcp_server_name: must be unique"),
    (body(tools=[MCP], mcp_servers=[SERVER, SERVER]), "mcp_servers.1.name: must be unique"),
    (body(tools=[MCP], mcp_servers=[{**SERVER, "url": "ftp://x.y/z"}]), "mcp_servers.0.url: String should match"),
    (body(tools=[MCP], mcp_servers=[{**SERVER, "url": "http://[::1]/"}]), "mcp_servers.0.url: names this machine"),
    (body(tools=[MCP], mcp_servers=[SERVER] * 21), "mcp_servers: List should have at most 20"),
]


@pytest.mark.parametrize(("raw", "message"), REFUSED, ids=[message[:50] for _, message in REFUSED])
def test_a_wrong_body_is_refused_by_path_and_finding(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(RejectedError) as refused:
        created_fields(checked(AgentCreate, raw))
    assert refused.value.message.startswith(message)


def test_tools_over_all_toolsets_are_counted() -> None:
    servers = [{**SERVER, "name": f"s{index}"} for index in range(3)]
    configs = [{"name": f"t{index}"} for index in range(128)]
    tools = [{**MCP, "mcp_server_name": server["name"], "configs": configs} for server in servers]
    with pytest.raises(RejectedError, match="at most 256 tools over all toolsets, found 384"):
        created_fields(checked(AgentCreate, body(tools=tools, mcp_servers=servers)))


def test_what_cannot_be_cleared_is_refused_and_references_hold_across_fields() -> None:
    current = created_fields(checked(AgentCreate, body(tools=[MCP], mcp_servers=[SERVER])))
    current |= {"skills": [], "multiagent": None}
    for raw in ({"name": None}, {"model": None}, {"version": 0}, {"version": "1"}):
        with pytest.raises(RejectedError):
            checked(AgentUpdate, raw)
    with pytest.raises(RejectedError, match=r"mcp_servers\.0\.name"):
        updated_fields(current, checked(AgentUpdate, {"tools": []}))
    full = {**current, "metadata": {str(index): "" for index in range(16)}}
    with pytest.raises(RejectedError, match="would hold 17"):
        updated_fields(full, checked(AgentUpdate, {"metadata": {"one": "more"}}))
    assert updated_fields(current, checked(AgentUpdate, {"tools": None, "mcp_servers": None}))["tools"] == []


@pytest.mark.parametrize(
    ("domain", "problem"),
    [
        ("docs.example.com", None),
        ("xn--bcher-kva.example", None),
        ("example.co.uk", None),
        ("http://example.com", "scheme"),
        ("example.com:443", "port"),
        ("user@example.com", "credentials"),
        ("*.example.com", "wildcards"),
        ("bücher.example", "punycode"),
        ("192.0.2.1", "IP addresses"),
        ("[2001:db8::1]", "IP addresses"),
        ("localhost", "not public"),
        ("printer.local", "not public"),
        ("com", "single label"),
        ("co.uk", "registry"),
        ("a..com", "no host name"),
        ("-a.com", "no host name"),
        ("", "1 to 255"),
        ("a" * 256, "1 to 255"),
    ],
)
def test_domains_are_plain_public_hosts(domain: str, problem: str | None) -> None:
    found = domain_problem(domain, allow_path=False)
    assert found is None if problem is None else problem in (found or "")


def test_a_search_may_name_a_path() -> None:
    assert domain_problem("example.com/docs", allow_path=True) is None
    assert domain_problem("example.com/a b", allow_path=True) is not None


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"oneOf": []}, "oneOf is not supported"),
        ({"properties": {"a b": {}}}, "a name must be 1 to 64"),
        ({"properties": {"a": 1}}, r"properties\.a must be a schema"),
        ({"properties": {"a": {"items": {"$ref": "#/x"}}}}, r"properties\.a\.items\.\$ref is not supported"),
        ({"required": ["a", "a"]}, "required must be a list"),
        ({"properties": {f"p{index}": {} for index in range(129)}}, "at most 128"),
    ],
)
def test_schemas_are_what_a_model_provider_takes(schema: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        check_input_schema({"type": "object", **schema})


def test_schemas_keep_what_is_no_schema() -> None:
    check_input_schema({"type": "object", "additionalProperties": False, "title": "T", "default": {"$ref": "data"}})
    deep: dict[str, Any] = {"type": "object"}
    for _ in range(100):
        deep = {"type": "object", "properties": {"a": deep}}
    with pytest.raises(ValueError, match="deeper than 64"):
        check_input_schema(deep)
