"""Normalising is idempotent, manifests and API forms say the same, and a change is exactly what was asked for."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from managed_agents.contracts.api.agents import snapshot_for
from managed_agents.server.bodies.agents import AgentCreate, AgentUpdate
from managed_agents.server.bodies.environments import EnvironmentCreate, EnvironmentUpdate
from managed_agents.server.services import agent_rules, environment_rules
from managed_agents.server.validation import checked
from support.kube import merged

Json = dict[str, Any]

_WORDS = st.text("abz09_-", min_size=1, max_size=8)
_TEXTS = st.text(max_size=12)
_MAYBE = st.none() | st.booleans()
_POLICY = st.none() | st.sampled_from([{"type": "always_allow"}, {"type": "always_ask"}])
_DEFAULT = st.fixed_dictionaries({}, optional={"enabled": _MAYBE, "permission_policy": _POLICY})
_FILTER = st.sampled_from(["all", "none", {"type": "all"}])
_EXTRAS: dict[str, Json] = {
    "web_search": {
        "allowed_domains": st.none() | st.just(["a.example.com", "b.example.com/docs"]),
        "user_location": st.just({"type": "approximate", "city": "Oslo"}),
    },
    "web_fetch": {
        "blocked_domains": st.just(["a.example.com"]),
        "max_content_tokens": st.none() | st.integers(1, 1000),
        "url_sources": st.fixed_dictionaries({}, optional={"client_tool_results": _FILTER}),
    },
}


def _config(name: str) -> st.SearchStrategy[Json]:
    optional = {"enabled": _MAYBE, "permission_policy": _POLICY, "type": st.just(name), **_EXTRAS.get(name, {})}
    return st.fixed_dictionaries({"name": st.just(name)}, optional=optional)


_CONFIGS = st.lists(
    st.sampled_from(["bash", "read", "web_search", "web_fetch"]).flatmap(_config),
    max_size=4,
    unique_by=lambda config: str(config["name"]),
)
_TOOLSET = st.fixed_dictionaries(
    {"type": st.just("agent_toolset_20260401")}, optional={"default_config": _DEFAULT, "configs": _CONFIGS}
)
_SCHEMA = st.fixed_dictionaries(
    {"type": st.just("object")}, optional={"properties": st.just({"a_b": {"default": None}}), "x_y": st.none()}
)
_CUSTOM = st.fixed_dictionaries(
    {"type": st.just("custom"), "name": _WORDS, "description": _WORDS, "input_schema": _SCHEMA}
)
_METADATA = st.dictionaries(_WORDS, _TEXTS, max_size=4)
_MODEL = st.sampled_from(["m", "claude-opus-5-5"]) | st.fixed_dictionaries(
    {"id": st.sampled_from(["m", "claude-opus-5-5"])},
    optional={
        "effort": st.sampled_from([None, "low", {"type": "max"}]),
        "inference_geo": st.sampled_from([None, "us"]),
        "speed": st.sampled_from([None, "fast"]),
    },
)


@st.composite
def _agents(draw: st.DrawFn) -> Json:
    tools: list[Json] = draw(st.lists(_CUSTOM, max_size=2, unique_by=lambda tool: str(tool["name"])))
    tools += draw(st.lists(_TOOLSET, max_size=1))
    servers = draw(st.lists(_WORDS, max_size=2, unique=True))
    tools += [{"type": "mcp_toolset", "mcp_server_name": name, "configs": draw(st.none())} for name in servers]
    optional = {
        "description": st.none() | _TEXTS,
        "system": st.none() | _TEXTS,
        "metadata": _METADATA,
    }
    listed = [{"type": "url", "name": name, "url": "https://m.example.com"} for name in servers]
    required = {"name": _WORDS, "model": _MODEL, "tools": st.just(tools), "mcp_servers": st.just(listed)}
    body: Json = draw(st.fixed_dictionaries(required, optional=optional))
    return body


def _agent(spec: Json) -> Json:
    return {"metadata": {"name": "bot", "namespace": "team-a", "uid": "u-1"}, "spec": spec}


def _shown(spec: Json) -> Json:
    return {name: value for name, value in snapshot_for(_agent(spec), 0).items() if name in _FIELDS}


_FIELDS = ("name", "description", "system", "model", "tools", "mcp_servers", "metadata")


@given(_agents())
def test_what_is_shown_can_be_sent_again_and_is_the_same(raw: Json) -> None:
    fields = agent_rules.created_fields(checked(AgentCreate, raw))
    assert agent_rules.created_fields(checked(AgentCreate, fields)) == fields
    assert _shown(agent_rules.spec_of(fields)) == fields


@given(_agents(), _agents(), st.sets(st.sampled_from(_FIELDS)))
def test_a_change_is_what_was_sent_and_the_rest_stays(raw: Json, other: Json, sent: set[str]) -> None:
    sent = sent | {"tools", "mcp_servers"} if sent & {"tools", "mcp_servers"} else sent
    spec = agent_rules.spec_of(agent_rules.created_fields(checked(AgentCreate, raw)))
    current = snapshot_for(_agent(spec), 0)
    body = checked(AgentUpdate, {name: value for name, value in other.items() if name in sent})
    wanted = agent_rules.updated_fields(current, body)
    patch = agent_rules.spec_patch(spec, current, wanted)
    after = merged(spec, patch)
    assert _shown(after) == {name: wanted[name] for name in _FIELDS}
    assert {name: wanted[name] for name in _FIELDS if name not in sent} == {
        name: current[name] for name in _FIELDS if name not in sent
    }
    again = snapshot_for(_agent(after), 0)
    assert agent_rules.spec_patch(after, again, agent_rules.updated_fields(again, body)) == {}


_PACKAGES = st.fixed_dictionaries(
    {"type": st.just("packages")}, optional={"pip": st.sampled_from([None, [], ["rich"]]), "npm": st.just(["x"])}
)
_HOSTS = st.sampled_from([None, [], ["a.example.com", "*.b.example.com"]])
_NETWORKING = st.sampled_from([None, {"type": "unrestricted"}]) | st.fixed_dictionaries(
    {"type": st.just("limited"), "allow_package_managers": st.just(value=True)},
    optional={"allowed_hosts": _HOSTS, "allow_mcp_servers": _MAYBE},
)
_CLOUD = st.fixed_dictionaries({"type": st.just("cloud")}, optional={"networking": _NETWORKING, "packages": _PACKAGES})
_ENVIRONMENTS = st.fixed_dictionaries(
    {"name": _WORDS},
    optional={"config": st.none() | _CLOUD, "description": st.none() | _TEXTS, "metadata": _METADATA},
)


def _environment(spec: Json) -> Json:
    return {"metadata": {"name": "python", "namespace": "team-a", "uid": "u-1"}, "spec": spec}


@given(_ENVIRONMENTS, _ENVIRONMENTS)
def test_environments_change_by_what_is_sent(raw: Json, other: Json) -> None:
    fields = environment_rules.created_fields(checked(EnvironmentCreate, raw))
    assert environment_rules.created_fields(checked(EnvironmentCreate, fields)) == fields
    spec = environment_rules.spec_of(fields)
    current = environment_rules.current_fields(_environment(spec))
    assert current == fields
    body = checked(EnvironmentUpdate, other)
    wanted = environment_rules.updated_fields(current, body)
    after = merged(spec, environment_rules.spec_patch(spec, current, wanted))
    again = environment_rules.current_fields(_environment(after))
    assert again == wanted
    assert environment_rules.spec_patch(after, again, environment_rules.updated_fields(again, body)) == {}
