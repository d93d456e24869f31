"""Whatever a log holds, the Messages API gets a well-formed conversation (guarantee I8).

The rules are local to one exchange, total and idempotent, so that a history folded step by step and one rebuilt at once
give the same bytes.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Block = dict[str, Any]

NO_OUTPUT = "(no output)"
"""Stands for a tool result without content, as in the SDK's runner (API reference §8)."""

NO_RESULT = "The tool call has no recorded result; whether it took effect is unknown."
"""Stands for a result that the log does not hold. No log of ours lacks one; a repaired history says so."""


def is_empty(block: Mapping[str, Any]) -> bool:
    """Tell whether a block is one the API refuses: a text without any text."""
    return block.get("type") == "text" and not str(block.get("text", "")).strip()


def assistant_content(blocks: Iterable[Block]) -> list[Block]:
    """Return what may be sent back of a response: no empty text, no call twice, nothing if only thinking is left."""
    kept: list[Block] = []
    seen: set[str] = set()
    for block in blocks:
        if is_empty(block) or block.get("id") in seen:
            continue
        if block["type"] == "tool_use":
            seen.add(block["id"])
        kept.append(block)
    return kept if any(block["type"] in ("text", "tool_use") for block in kept) else []


def user_content(calls: Sequence[str], results: Mapping[str, Block], inputs: Iterable[Block]) -> list[Block]:
    """Return the user message after a response with these calls: one result for each, then the inputs.

    A missing result is replaced by an error, a result without its call is left out, empty text is dropped.
    """
    answers = [results.get(call) or tool_result(call, NO_RESULT, is_error=True) for call in calls]
    return [*answers, *(block for block in inputs if not is_empty(block))]


def tool_result(call: str, content: str | Sequence[Mapping[str, Any]] | None, *, is_error: bool) -> Block:
    """Build the Messages API's `tool_result`; content that would be refused as empty says so instead."""
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else list(content or ())
    kept = [block for block in blocks if not is_empty(block)] or [{"type": "text", "text": NO_OUTPUT}]
    result: Block = {"type": "tool_result", "tool_use_id": call, "content": kept}
    return result | {"is_error": True} if is_error else result
