from hypothesis import given
from hypothesis import strategies as st

from managed_agents.contracts.api.casing import camel, snake, to_camel, to_snake


def test_manifest_becomes_api_form_and_back_and_schemas_stay() -> None:
    manifest = {
        "mcpServerName": "tracker",
        "configs": [{"name": "bash", "permissionPolicy": {"type": "always_ask"}}],
        "inputSchema": {"type": "object", "properties": {"ticketId": {"type": "string"}}},
        "metadata": {"ticketId": "42"},
        "listPrice": {"perMillionTokens": {"cacheWrite5m": "1", "cacheWrite1h": "2", "cacheRead": "3"}},
    }
    api = {
        "mcp_server_name": "tracker",
        "configs": [{"name": "bash", "permission_policy": {"type": "always_ask"}}],
        "input_schema": {"type": "object", "properties": {"ticketId": {"type": "string"}}},
        "metadata": {"ticketId": "42"},
        "list_price": {"per_million_tokens": {"cache_write_5m": "1", "cache_write_1h": "2", "cache_read": "3"}},
    }
    assert to_snake(manifest) == api
    assert to_camel(api) == manifest


@given(st.lists(st.text("abcdefghijklmnopqrstuvwxyz", min_size=1), min_size=1).map("_".join))
def test_names_survive_the_round_trip(name: str) -> None:
    assert snake(camel(name)) == name
