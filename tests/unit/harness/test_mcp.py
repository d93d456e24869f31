"""The pure parts of the MCP client: names, messages, results, and what the model is told of a tool."""

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from managed_agents.harness.mcp.client import McpTool
from managed_agents.harness.mcp.content import IMAGE_BASE64_BYTES_MAX, result_from
from managed_agents.harness.mcp.names import model_name
from managed_agents.harness.tools.remote import remote_tools
from support.requirements import requirement

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 8


@given(st.text(min_size=1, max_size=300), st.text(min_size=1, max_size=300))
def test_every_name_is_one_that_the_messages_api_takes(server: str, tool: str) -> None:
    name = model_name(server, tool)
    assert name == model_name(server, tool)
    assert 1 <= len(name) <= 128
    assert all(character.isascii() and (character.isalnum() or character in "_-") for character in name)


def test_names_of_different_tools_differ() -> None:
    pairs = [("a", "b__c"), ("a__b", "c"), ("a.b", "c"), ("a_b", "c"), ("a", "b.c"), ("a", "x" * 200), ("a", "x" * 201)]
    assert len({model_name(*pair) for pair in pairs}) == len(pairs)
    assert model_name("tracker", "add") == "mcp__tracker__add"


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


LARGE = _encoded(PNG + b"\0" * IMAGE_BASE64_BYTES_MAX)


@requirement("I8")
@pytest.mark.parametrize(
    ("item", "shown"),
    [
        ({"type": "text", "text": "hi"}, {"type": "text", "text": "hi"}),
        (
            {"type": "image", "data": _encoded(PNG), "mimeType": "image/jpeg"},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": _encoded(PNG)}},
        ),
        ({"type": "image", "data": _encoded(b"<svg/>"), "mimeType": "image/svg+xml"}, "cannot be shown"),
        ({"type": "image", "data": "###", "mimeType": "image/png"}, "cannot be shown"),
        (
            {"type": "image", "data": _encoded(PNG + b"\0" * IMAGE_BASE64_BYTES_MAX), "mimeType": "image/png"},
            "too large",
        ),
        ({"type": "audio", "data": "", "mimeType": "audio/wav"}, "audio content (audio/wav)"),
        ({"type": "resource_link", "uri": "file:///a", "name": "a"}, "[resource file:///a: a]"),
        (
            {"type": "resource", "resource": {"uri": "x://doc", "mimeType": "text/plain", "text": "long"}},
            {
                "type": "document",
                "source": {"type": "text", "media_type": "text/plain", "data": "long"},
                "title": "x://doc",
            },
        ),
        ({"type": "resource", "resource": {"uri": "x://zip", "blob": _encoded(b"PK")}}, "[resource x://zip"),
        ({"type": "resource"}, "cannot be shown"),
        ({"type": "novel"}, "[novel content"),
    ],
)
def test_a_result_holds_only_what_the_messages_api_takes(item: dict[str, Any], shown: object) -> None:
    (block,) = result_from({"content": [item]}).content
    assert block == shown if isinstance(shown, dict) else block["type"] == "text" and str(shown) in block["text"]


def test_structured_content_stands_in_where_there_is_no_other() -> None:
    assert result_from({"content": [], "structuredContent": {"a": 1}}).content == [{"type": "text", "text": '{"a":1}'}]
    assert result_from({"content": [{"type": "text", "text": ""}, 7], "isError": True}).content == []
    assert result_from({"content": [], "isError": True}).is_error


def _tool(name: str, **schema: Any) -> McpTool:
    return McpTool(name=name, description="d", input_schema={"type": "object", **schema})


@requirement("I8")
def test_the_model_is_told_only_of_tools_that_the_messages_api_takes() -> None:
    listed = [
        _tool("union", oneOf=[{}], properties={"a": {"oneOf": [{}]}}),
        _tool("bad", properties={"a b": {}}),
        _tool("large", properties={"a": {"description": "x" * 70_000}}),
        McpTool(name="text", description="", input_schema={"type": "string"}),
        McpTool(name="plain", description="", input_schema={}),
        *(_tool(f"t{index}") for index in range(300)),
    ]
    found = remote_tools([{"type": "mcp_toolset", "mcp_server_name": "s"}], {"s": listed, "other": listed})
    assert len(found) == 256
    union, plain, *_ = found.values()
    assert union.definition["input_schema"] == {"type": "object", "properties": {"a": {"oneOf": [{}]}}}
    assert dict(plain.definition) == {"name": "mcp__s__plain", "input_schema": {"type": "object"}}
    assert union.policy == "always_ask"


def test_a_tools_own_setting_goes_before_its_sets() -> None:
    toolset = {
        "type": "mcp_toolset",
        "mcp_server_name": "s",
        "default_config": {"enabled": False, "permission_policy": {"type": "always_allow"}},
        "configs": [{"name": "a", "enabled": True}, {"name": "b", "permission_policy": {"type": "always_ask"}}],
    }
    found = remote_tools([toolset], {"s": [_tool("a"), _tool("b"), _tool("c")]})
    assert {name: tool.policy for name, tool in found.items()} == {"mcp__s__a": "always_allow"}
