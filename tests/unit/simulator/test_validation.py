"""What the simulated model refuses, with the words of the Messages API."""

import copy
import re
from typing import Any

import pytest

from managed_agents.simulator.errors import ApiError
from managed_agents.simulator.shapes import Seen
from managed_agents.simulator.signatures import signature_of
from managed_agents.simulator.validation import validated

TOOL = {"name": "bash", "input_schema": {"type": "object"}}
SIGNED = {"type": "thinking", "thinking": "hm", "signature": signature_of("hm")}


def user(*content: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(content)}


def assistant(*content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(content)}


def text(value: str = "hello") -> dict[str, Any]:
    return {"type": "text", "text": value}


def use(tool_use_id: str = "toolu_1") -> dict[str, Any]:
    return {"type": "tool_use", "id": tool_use_id, "name": "bash", "input": {}}


def result(tool_use_id: str = "toolu_1", **fields: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": tool_use_id, "content": "ok", **fields}


def body(*messages: Any, **fields: Any) -> dict[str, Any]:
    return {"model": "simulated", "max_tokens": 100, "messages": list(messages) or [user(text())], **fields}


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in body().items() if key != name}


ACCEPTED: dict[str, dict[str, Any]] = {
    "string content": body({"role": "user", "content": "hi"}),
    "results before text": body(user(text()), assistant(use()), user(result(), text())),
    "parallel tools": body(user(text()), assistant(use("a"), use("b")), user(result("b"), result("a"))),
    "results in two messages": body(user(text()), assistant(use("a"), use("b")), user(result("a")), user(result("b"))),
    "assistant in two messages": body(user(text()), assistant(text()), assistant(use()), user(result())),
    "two user messages": body(user(text()), user(text())),
    "empty result": body(user(text()), assistant(use()), user({"type": "tool_result", "tool_use_id": "toolu_1"})),
    "signed thinking": body(user(text()), assistant(SIGNED, use()), user(result()), thinking={"type": "adaptive"}),
    "system message after user": body(user(text()), {"role": "system", "content": "Be brief."}),
    "system message after result": body(
        user(text()), assistant(use()), user(result()), {"role": "system", "content": "x"}
    ),
    "image": body(user({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": ""}})),
    "tools and choice": body(tools=[TOOL], tool_choice={"type": "tool", "name": "bash"}),
    "server tool": body(tools=[{"type": "bash_20250124", "name": "bash"}]),
    "four breakpoints": body(
        user(*({**text(), "cache_control": {"type": "ephemeral", "ttl": "1h"}} for _ in range(4)))
    ),
    "caller of a tool use": body(user(text()), assistant({**use(), "caller": {"type": "direct"}}), user(result())),
}

UNANSWERED = (
    "`tool_use` ids were found without `tool_result` blocks immediately after: toolu_1. Each `tool_use` block must "
    "have a corresponding `tool_result` block in the next message."
)
UNEXPECTED = (
    "unexpected `tool_use_id` found in `tool_result` blocks: other. Each `tool_result` block must have a "
    "corresponding `tool_use` block in the previous message."
)
EMPTY = "all messages must have non-empty content except for the optional final assistant message"
PREFILL = "This model does not support assistant message prefill. The conversation must end with a user message."

REFUSED: dict[str, tuple[Any, str]] = {
    "no object": ([], "The request body is not valid JSON: expected an object"),
    "no model": (without("model"), "model: Field required"),
    "no max_tokens": (without("max_tokens"), "max_tokens: Field required"),
    "no messages": (without("messages"), "messages: Field required"),
    "empty messages": ({**body(), "messages": []}, "messages: at least one message is required"),
    "messages no list": ({**body(), "messages": "hi"}, "messages: Input should be a valid list"),
    "model no string": (body(model=1), "model: Input should be a valid string"),
    "max_tokens text": (body(max_tokens="1"), "max_tokens: Input should be a valid integer"),
    "max_tokens bool": (body(max_tokens=True), "max_tokens: Input should be a valid integer"),
    "max_tokens zero": (body(max_tokens=0), "max_tokens: Input should be greater than or equal to 1"),
    "max_tokens too high": (
        body(max_tokens=128_001),
        "max_tokens: 128001 > 128000, which is the maximum allowed number of output tokens for simulated",
    ),
    "unknown field": (body(foo=1), "foo: Extra inputs are not permitted"),
    "stream text": (body(stream="yes"), "stream: Input should be a valid boolean"),
    "temperature": (body(temperature=2), "temperature: Input should be less than or equal to 1"),
    "message no object": (body("hi"), "messages.0: Input should be a valid dictionary"),
    "no role": (body({"content": "hi"}), "messages.0.role: Field required"),
    "no content": (body({"role": "user"}), "messages.0.content: Field required"),
    "unknown role": (
        body({"role": "tool", "content": "x"}),
        "messages.0.role: Input should be 'user', 'assistant' or 'system'",
    ),
    "system first": (
        body({"role": "system", "content": "x"}),
        'messages: Unexpected role "system". The Messages API accepts a top-level `system` parameter, '
        'not "system" as an input message role.',
    ),
    "system after assistant": (
        body(user(text()), assistant(text()), {"role": "system", "content": "x"}),
        "messages.2: a `system` message must directly follow a `user` message",
    ),
    "system before user": (
        body(user(text()), {"role": "system", "content": "x"}, user(text())),
        "messages.1: a `system` message must be the last one or be followed by an `assistant` message",
    ),
    "field beside content": (
        body({"role": "user", "content": "hi", "name": "x"}),
        "messages.0.name: Extra inputs are not permitted",
    ),
    "assistant first": (body(assistant(text())), 'messages: first message must use the "user" role'),
    "content number": (body({"role": "user", "content": 1}), "messages.0.content: Input should be a valid list"),
    "empty user content": (body(user()), f"messages.0: {EMPTY}"),
    "empty user string": (body({"role": "user", "content": ""}), f"messages.0: {EMPTY}"),
    "empty merged message": (body(user(text()), user()), f"messages.1: {EMPTY}"),
    "empty assistant inside": (body(user(text()), assistant(), user(text())), f"messages.1: {EMPTY}"),
    "empty text": (body(user(text(""))), "messages: text content blocks must be non-empty"),
    "blank text": (body(user(text(" \n"))), "messages: text content blocks must contain non-whitespace text"),
    "empty text in result": (
        body(user(text()), assistant(use()), user(result(content=[text("")]))),
        "messages: text content blocks must be non-empty",
    ),
    "empty system text": (body(system=[text("")]), "system: text content blocks must be non-empty"),
    "block without type": (
        body(user({"text": "x"})),
        "messages.0.content.0: Unable to extract tag using discriminator 'type'",
    ),
    "block without text": (body(user({"type": "text"})), "messages.0.content.0.text.text: Field required"),
    "block with own field": (
        body(user({**text(), "parsed_output": None})),
        "messages.0.content.0.text.parsed_output: Extra inputs are not permitted",
    ),
    "tool use by user": (
        body(user(use())),
        "messages.0: `tool_use` blocks can only be in `assistant` messages",
    ),
    "result by assistant": (
        body(user(text()), assistant(result())),
        "messages.1: `tool_result` blocks can only be in `user` messages",
    ),
    "unanswered at the end": (body(user(text()), assistant(use())), f"messages.1: {UNANSWERED}"),
    "unanswered": (body(user(text()), assistant(use()), user(text())), f"messages.1: {UNANSWERED}"),
    "one of two unanswered": (
        body(user(text()), assistant(use("a"), use()), user(result("a"))),
        f"messages.1: {UNANSWERED}",
    ),
    "result after text": (body(user(text()), assistant(use()), user(text(), result())), f"messages.1: {UNANSWERED}"),
    "result after a text message": (
        body(user(text()), assistant(use()), user(text()), user(result())),
        f"messages.1: {UNANSWERED}",
    ),
    "result too late": (
        body(user(text()), assistant(text()), user(result("other"))),
        f"messages.2.content.0: {UNEXPECTED}",
    ),
    "result of another": (
        body(user(text()), assistant(use()), user(result(), result("other"))),
        f"messages.2.content.1: {UNEXPECTED}",
    ),
    "result at the start": (body(user(result("other"))), f"messages.0.content.0: {UNEXPECTED}"),
    "two results": (
        body(user(text()), assistant(use()), user(result(), result())),
        "messages.2.content.1: each tool_use must have a single result. Found multiple `tool_result` blocks with id: "
        "toolu_1",
    ),
    "error without content": (
        body(user(text()), assistant(use()), user(result(content="", is_error=True))),
        "messages.2.content.0.tool_result: content cannot be empty if `is_error` is true",
    ),
    "is_error text": (
        body(user(text()), assistant(use()), user(result(is_error="no"))),
        "messages.2.content.0.tool_result.is_error: Input should be a valid boolean",
    ),
    "duplicate ids": (
        body(user(text()), assistant(use(), use()), user(result())),
        "messages.1.content.1: `tool_use` ids must be unique",
    ),
    "duplicate ids far apart": (
        body(user(text()), assistant(use()), user(result()), assistant(use()), user(result())),
        "messages.3.content.0: `tool_use` ids must be unique",
    ),
    "bad id": (
        body(user(text()), assistant(use("a b")), user(result("a b"))),
        "messages.1.content.0.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'",
    ),
    "input text": (
        body(user(text()), assistant({**use(), "input": "{}"}), user(result())),
        "messages.1.content.0.tool_use.input: Input should be a valid dictionary",
    ),
    "no tool name": (
        body(user(text()), assistant({"type": "tool_use", "id": "a", "input": {}}), user(result("a"))),
        "messages.1.content.0.tool_use.name: Field required",
    ),
    "changed thinking": (
        body(user(text()), assistant({**SIGNED, "thinking": "hm!"}, text()), user(text())),
        "messages.1.content.0: Invalid `signature` in `thinking` block",
    ),
    "unsigned thinking": (
        body(user(text()), assistant({"type": "thinking", "thinking": "hm"}, text()), user(text())),
        "messages.1.content.0.thinking.signature: Field required",
    ),
    "prefill": (body(user(text()), assistant(text())), PREFILL),
    "empty prefill": (body(user(text()), assistant()), PREFILL),
    "tool name": (
        body(tools=[{**TOOL, "name": "a b"}]),
        "tools.0.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'",
    ),
    "no schema": (body(tools=[{"name": "bash"}]), "tools.0.custom.input_schema: Field required"),
    "schema type": (
        body(tools=[{"name": "bash", "input_schema": {"type": "array"}}]),
        "tools.0.custom.input_schema.type: Input should be 'object'",
    ),
    "two tools of a name": (body(tools=[TOOL, TOOL]), "tools: Tool names must be unique."),
    "choice without tools": (
        body(tool_choice={"type": "auto"}),
        "tool_choice: tool_choice may only be specified while providing tools",
    ),
    "choice of unknown tool": (
        body(tools=[TOOL], tool_choice={"type": "tool", "name": "ls"}),
        "tool_choice: Tool 'ls' not found in provided tools",
    ),
    "small budget": (
        body(thinking={"type": "enabled", "budget_tokens": 10}),
        "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
    ),
    "budget over max_tokens": (
        body(thinking={"type": "enabled", "budget_tokens": 1024}),
        "`max_tokens` must be greater than `thinking.budget_tokens`.",
    ),
    "five breakpoints": (
        body(user(*({**text(), "cache_control": {"type": "ephemeral"}} for _ in range(5)))),
        "A maximum of 4 blocks with cache_control may be provided. Found 5.",
    ),
    "breakpoint on nothing": (
        body(user({**text(""), "cache_control": {"type": "ephemeral"}})),
        "messages.0.content.0.text: cache_control cannot be set for empty text blocks",
    ),
    "effort": (
        body(output_config={"effort": "extreme"}),
        "output_config.effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max'",
    ),
    "speed": (body(speed="warp"), "speed: Input should be 'standard' or 'fast'"),
    "inference_geo": (body(inference_geo=1), "inference_geo: Input should be a valid string"),
    "image of a file": (
        body(user({"type": "image", "source": {"type": "file", "file_id": "file_1"}})),
        "messages.0.content.0.image.source: Input tag 'file' does not match any of the expected tags: 'base64', 'url'",
    ),
    "document without data": (
        body(user({"type": "document", "source": {"type": "text", "media_type": "text/plain"}})),
        "messages.0.content.0.document.source.text.data: Field required",
    ),
    "time to live": (
        body(user({**text(), "cache_control": {"type": "ephemeral", "ttl": "2h"}})),
        "messages.0.content.0.text.cache_control.ttl: Input should be '5m' or '1h'",
    ),
}


@pytest.mark.parametrize("request_body", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_well_formed_request_is_accepted_unchanged(request_body: dict[str, Any]) -> None:
    before = copy.deepcopy(request_body)

    assert validated(request_body).model == "simulated"

    assert request_body == before


@pytest.mark.parametrize(("request_body", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_malformed_request_is_refused_with_the_words_of_the_api(request_body: Any, message: str) -> None:
    with pytest.raises(ApiError) as refusal:
        validated(request_body)

    assert (refusal.value.status, refusal.value.error_type) == (400, "invalid_request_error")
    assert refusal.value.message == message


def test_unknown_block_type_is_refused_naming_those_there_are() -> None:
    with pytest.raises(
        ApiError, match=re.escape("messages.0.content.0: Input tag 'poem' found using 'type'")
    ) as refusal:
        validated(body(user({"type": "poem"})))

    assert "'tool_result'" in refusal.value.message


def test_counting_tokens_needs_no_max_tokens() -> None:
    assert validated(without("max_tokens"), counting=True).max_tokens == 0


def test_messages_seen_before_are_not_looked_at_again_but_their_order_is() -> None:
    seen = Seen()
    system = {"role": "system", "content": "Be brief."}
    validated(body(user(text()), system), seen)
    validated(body(user(text()), system, assistant(text()), user(text())), seen)

    with pytest.raises(ApiError, match='Unexpected role "system"'):
        validated(body(system, user(text())), seen)
    with pytest.raises(ApiError, match="a `system` message must directly follow"):
        validated(body(user(text()), assistant(text()), system), seen)
