"""The shape of a content block: which types each role may send, and the fields of each."""

from typing import Any, Final

from managed_agents.simulator.checks import (
    fail,
    known_fields,
    need_list,
    need_matching,
    need_object,
    need_string,
    required,
)
from managed_agents.simulator.errors import invalid_request
from managed_agents.simulator.signatures import is_signed

_ID: Final = "^[a-zA-Z0-9_-]+$"

_FIELDS: Final[dict[str, frozenset[str]]] = {
    "text": frozenset({"type", "text", "cache_control", "citations"}),
    "thinking": frozenset({"type", "thinking", "signature"}),
    "redacted_thinking": frozenset({"type", "data"}),
    "tool_use": frozenset({"type", "id", "name", "input", "cache_control", "caller", "toolset_name"}),
    "tool_result": frozenset({"type", "tool_use_id", "content", "is_error", "cache_control", "toolset_name"}),
}
_OTHER: Final = frozenset(
    {
        *("image", "document", "search_result", "container_upload", "compaction", "fallback"),
        *("tool_addition", "tool_removal", "server_tool_use", "mcp_tool_use", "mcp_tool_result", "mcp_tool_listing"),
        *("web_search_tool_result", "web_fetch_tool_result", "advisor_tool_result", "tool_search_tool_result"),
        *("code_execution_tool_result", "bash_code_execution_tool_result"),
        "text_editor_code_execution_tool_result",
    }
)
_SOURCES: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "image": {"base64": ("media_type", "data"), "url": ("url",)},
    "document": {"base64": ("media_type", "data"), "text": ("media_type", "data"), "url": ("url",), "content": ()},
}
_RESULT_PARTS: Final = frozenset({"text", "image", "search_result", "document", "tool_reference", "browser_state"})
_ASSISTANT_ONLY: Final = frozenset({"tool_use", "thinking", "redacted_thinking"})


def check_block(block: Any, path: str, role: str) -> None:
    """Raise `ApiError` (400) if the role may not send this block, or a field of it is wrong."""
    need_object(block, path)
    kind = block.get("type")
    if kind is None:
        fail(path, "Unable to extract tag using discriminator 'type'")
    if not isinstance(kind, str) or (kind not in _FIELDS and kind not in _OTHER):
        tags = ", ".join(f"'{tag}'" for tag in sorted({*_FIELDS, *_OTHER}))
        fail(path, f"Input tag '{kind}' found using 'type' does not match any of the expected tags: {tags}")
    _check_role(kind, path, role)
    if kind in _FIELDS:
        known_fields(block, _FIELDS[kind], f"{path}.{kind}")
        _check_fields(block, kind, f"{path}.{kind}", path)
    if kind in _SOURCES:
        _check_source(block, kind, f"{path}.{kind}")
    if block.get("cache_control") is not None:
        check_cache_control(block["cache_control"], f"{path}.{kind}.cache_control")


def _check_source(block: dict[str, Any], kind: str, path: str) -> None:
    """Refuse a source that no provider could read; there are no files here to refer to."""
    source = required(block, "source", path)
    need_object(source, f"{path}.source")
    if source.get("type") not in _SOURCES[kind]:
        tags = ", ".join(f"'{tag}'" for tag in _SOURCES[kind])
        fail(f"{path}.source", f"Input tag '{source.get('type')}' does not match any of the expected tags: {tags}")
    for name in _SOURCES[kind][source["type"]]:
        need_string(required(source, name, f"{path}.source.{source['type']}"), f"{path}.source.{source['type']}.{name}")


def _check_role(kind: str, path: str, role: str) -> None:
    message = path.partition(".content")[0]
    if kind == "tool_result" and role != "user":
        fail(message, "`tool_result` blocks can only be in `user` messages")
    if kind in _ASSISTANT_ONLY and role != "assistant":
        fail(message, f"`{kind}` blocks can only be in `assistant` messages")
    if role == "system" and kind != "text":
        fail(message, "`system` messages may only contain `text` blocks")


def _check_fields(block: dict[str, Any], kind: str, path: str, place: str) -> None:
    match kind:
        case "text":
            need_string(required(block, "text", path), f"{path}.text")
            if not block["text"] and block.get("cache_control") is not None:
                fail(path, "cache_control cannot be set for empty text blocks")
        case "thinking":
            need_string(required(block, "thinking", path), f"{path}.thinking")
            need_string(required(block, "signature", path), f"{path}.signature")
            if not is_signed(block["thinking"], block["signature"]):
                fail(place, "Invalid `signature` in `thinking` block")
        case "redacted_thinking":
            need_string(required(block, "data", path), f"{path}.data")
        case "tool_use":
            need_matching(required(block, "id", path), _ID, f"{path}.id")
            need_string(required(block, "name", path), f"{path}.name", minimum=1)
            need_object(required(block, "input", path), f"{path}.input")
        case "tool_result":
            need_matching(required(block, "tool_use_id", path), _ID, f"{path}.tool_use_id")
            _check_result(block, path)


def _check_result(block: dict[str, Any], path: str) -> None:
    if not isinstance(block.get("is_error", False), bool):
        fail(f"{path}.is_error", "Input should be a valid boolean")
    content = block.get("content")
    if block.get("is_error") and not content:
        fail(path, "content cannot be empty if `is_error` is true")
    if content is None or isinstance(content, str):
        return
    need_list(content, f"{path}.content")
    for index, part in enumerate(content):
        _check_result_part(part, f"{path}.content.{index}")


def _check_result_part(part: Any, path: str) -> None:
    need_object(part, path)
    if part.get("type") not in _RESULT_PARTS:
        fail(
            path,
            f"Input tag '{part.get('type')}' found using 'type' does not match any of the expected tags: "
            + ", ".join(f"'{tag}'" for tag in sorted(_RESULT_PARTS)),
        )
    if part["type"] in _SOURCES:
        _check_source(part, part["type"], f"{path}.{part['type']}")
    if part["type"] == "text":
        need_string(required(part, "text", f"{path}.text"), f"{path}.text.text")
        if not part["text"]:
            raise invalid_request("messages: text content blocks must be non-empty")


def check_cache_control(value: Any, path: str) -> None:
    """Raise `ApiError` (400) unless it is an `ephemeral` marker with a known time to live."""
    need_object(value, path)
    if required(value, "type", path) != "ephemeral":
        fail(f"{path}.type", "Input should be 'ephemeral'")
    if value.get("ttl", "5m") not in ("5m", "1h"):
        fail(f"{path}.ttl", "Input should be '5m' or '1h'")
