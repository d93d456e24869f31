"""The shape of a request body, checked field by field with the texts of the Messages API."""

from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from hashlib import blake2b
from typing import Any, Final

import orjson

from managed_agents.simulator.block_shapes import check_block, check_cache_control
from managed_agents.simulator.checks import (
    fail,
    known_fields,
    need_integer,
    need_list,
    need_matching,
    need_object,
    need_string,
    required,
)
from managed_agents.simulator.errors import invalid_request

MAX_OUTPUT_TOKENS: Final = 128_000
MAX_CACHE_BREAKPOINTS: Final = 4
SEEN_MAX: Final = 100_000

_FIELDS: Final = frozenset(
    {
        *("model", "messages", "max_tokens", "system", "tools", "tool_choice", "stream", "stop_sequences"),
        *("temperature", "top_p", "top_k", "metadata", "thinking", "cache_control", "output_config", "output_format"),
        *("container", "context_management", "diagnostics", "fallbacks", "fallback_credit_token", "inference_geo"),
        *("mcp_servers", "service_tier", "speed", "thread", "compaction", "billing_policy", "user_profile_id"),
    }
)
"""Fields of the API with its betas, as the SDK of 2026 sends them."""
_TOOL_NAME: Final = "^[a-zA-Z0-9_-]{1,128}$"
_ROLES: Final = ("user", "assistant", "system")


class Seen:
    """Messages that were found well-shaped: a conversation sends them again with each request. Bounded."""

    def __init__(self) -> None:
        self._digests: OrderedDict[bytes, None] = OrderedDict()

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._digests

    def add(self, digest: bytes) -> None:
        """Remember a message; the oldest is forgotten first."""
        self._digests[digest] = None
        if len(self._digests) > SEEN_MAX:
            self._digests.popitem(last=False)


def check_shape(body: Any, seen: Seen, *, counting: bool = False) -> None:
    """Raise `ApiError` (400) for the first field that the API would not accept.

    `counting` is the request of `count_tokens`, which has no `max_tokens`.
    """
    if not isinstance(body, dict):
        raise invalid_request("The request body is not valid JSON: expected an object")
    known_fields(body, _FIELDS, "")
    need_string(required(body, "model", ""), "model", minimum=1)
    if not counting:
        _check_max_tokens(required(body, "max_tokens", ""))
    _check_messages(required(body, "messages", ""), seen)
    for name, check in _OPTIONAL.items():
        if body.get(name) is not None:
            check(body[name])
    _check_tools(body.get("tools"), body.get("tool_choice"))
    _check_thinking(body.get("thinking"), body.get("max_tokens"))
    _check_breakpoints(body)


def _check_max_tokens(value: Any) -> None:
    need_integer(value, "max_tokens", minimum=1)
    if value > MAX_OUTPUT_TOKENS:
        raise invalid_request(
            f"max_tokens: {value} > {MAX_OUTPUT_TOKENS}, which is the maximum allowed number of output tokens for "
            "simulated"
        )


def _check_messages(messages: Any, seen: Seen) -> None:
    need_list(messages, "messages")
    if not messages:
        raise invalid_request("messages: at least one message is required")
    for index, message in enumerate(messages):
        digest = blake2b(orjson.dumps(message), digest_size=16).digest()
        if index == 0 or digest not in seen:
            _check_message(message, index)
            seen.add(digest)


def _check_message(message: Any, index: int) -> None:
    path = f"messages.{index}"
    need_object(message, path)
    role = required(message, "role", path)
    if role == "system" and index == 0:
        raise invalid_request(
            'messages: Unexpected role "system". The Messages API accepts a top-level `system` parameter, '
            'not "system" as an input message role.'
        )
    if role not in _ROLES:
        fail(f"{path}.role", "Input should be 'user', 'assistant' or 'system'")
    known_fields(message, ("role", "content"), path)
    _check_content(required(message, "content", path), f"{path}.content", role)


def _check_content(content: Any, path: str, role: str) -> None:
    if isinstance(content, str):
        return
    need_list(content, path)
    for position, block in enumerate(content):
        check_block(block, f"{path}.{position}", role)


def _check_system(system: Any) -> None:
    _check_content(system, "system", "system")
    if any(block["text"] == "" for block in system if not isinstance(system, str)):
        raise invalid_request("system: text content blocks must be non-empty")


def _check_stream(stream: Any) -> None:
    if not isinstance(stream, bool):
        fail("stream", "Input should be a valid boolean")


def _check_stop_sequences(value: Any) -> None:
    need_list(value, "stop_sequences")
    for index, sequence in enumerate(value):
        need_string(sequence, f"stop_sequences.{index}")


def _check_fraction(name: str) -> Callable[[Any], None]:
    def check(value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            fail(name, "Input should be a valid number")
        if not 0 <= value <= 1:
            fail(name, f"Input should be {'greater than or equal to 0' if value < 0 else 'less than or equal to 1'}")

    return check


def _check_output_config(value: Any) -> None:
    need_object(value, "output_config")
    known_fields(value, ("effort", "format", "task_budget"), "output_config")
    if value.get("effort") is not None:
        _check_one_of(value["effort"], "output_config.effort", ("low", "medium", "high", "xhigh", "max"))


def _check_one_of(value: Any, path: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        *others, last = (f"'{word}'" for word in allowed)
        fail(path, f"Input should be {', '.join(others)} or {last}")


_OPTIONAL: Final[dict[str, Callable[[Any], None]]] = {
    "system": _check_system,
    "stream": _check_stream,
    "stop_sequences": _check_stop_sequences,
    "temperature": _check_fraction("temperature"),
    "top_p": _check_fraction("top_p"),
    "top_k": lambda value: need_integer(value, "top_k", minimum=0),
    "metadata": lambda value: need_object(value, "metadata"),
    "cache_control": lambda value: check_cache_control(value, "cache_control"),
    "output_config": _check_output_config,
    "speed": lambda value: _check_one_of(value, "speed", ("standard", "fast")),
    "inference_geo": lambda value: need_string(value, "inference_geo", minimum=1),
}


def _check_tools(tools: Any, choice: Any) -> None:
    names: list[str] = []
    if tools is not None:
        need_list(tools, "tools")
        names = [_check_tool(tool, f"tools.{index}") for index, tool in enumerate(tools)]
    if len(set(names)) != len(names):
        raise invalid_request("tools: Tool names must be unique.")
    if choice is not None:
        _check_tool_choice(choice, names)


def _check_tool(tool: Any, path: str) -> str:
    need_object(tool, path)
    if tool.get("cache_control") is not None:
        check_cache_control(tool["cache_control"], f"{path}.cache_control")
    kind = tool.get("type")
    if kind not in (None, "custom"):
        need_string(kind, f"{path}.type", minimum=1)
        return str(tool.get("name", kind))
    path = f"{path}.custom"
    name = required(tool, "name", path)
    need_matching(name, _TOOL_NAME, f"{path}.name")
    schema = required(tool, "input_schema", path)
    need_object(schema, f"{path}.input_schema")
    if required(schema, "type", f"{path}.input_schema") != "object":
        fail(f"{path}.input_schema.type", "Input should be 'object'")
    if tool.get("description") is not None:
        need_string(tool["description"], f"{path}.description")
    return str(name)


def _check_tool_choice(choice: Any, names: Collection[str]) -> None:
    need_object(choice, "tool_choice")
    kind = required(choice, "type", "tool_choice")
    if kind not in ("auto", "any", "tool", "none"):
        fail(
            "tool_choice",
            f"Input tag '{kind}' found using 'type' does not match any of the expected tags: "
            "'auto', 'any', 'tool', 'none'",
        )
    if not names and kind != "none":
        raise invalid_request("tool_choice: tool_choice may only be specified while providing tools")
    if kind == "tool":
        name = required(choice, "name", "tool_choice.tool")
        if name not in names:
            raise invalid_request(f"tool_choice: Tool '{name}' not found in provided tools")


def _check_thinking(thinking: Any, max_tokens: int | None) -> None:
    if thinking is None:
        return
    need_object(thinking, "thinking")
    kind = required(thinking, "type", "thinking")
    if kind not in ("enabled", "disabled", "adaptive", "between_tools"):
        fail(
            "thinking",
            f"Input tag '{kind}' found using 'type' does not match any of the expected tags: "
            "'enabled', 'disabled', 'adaptive', 'between_tools'",
        )
    if kind != "enabled":
        return
    budget = required(thinking, "budget_tokens", "thinking.enabled")
    need_integer(budget, "thinking.enabled.budget_tokens", minimum=1024)
    if max_tokens is not None and budget >= max_tokens:
        raise invalid_request("`max_tokens` must be greater than `thinking.budget_tokens`.")


def _check_breakpoints(body: dict[str, Any]) -> None:
    lists = [body.get("tools"), body.get("system"), *(message["content"] for message in body["messages"])]
    found = sum(
        1 for blocks in lists if isinstance(blocks, list) for block in blocks if block.get("cache_control") is not None
    ) + (body.get("cache_control") is not None)
    if found > MAX_CACHE_BREAKPOINTS:
        raise invalid_request(
            f"A maximum of {MAX_CACHE_BREAKPOINTS} blocks with cache_control may be provided. Found {found}."
        )
