"""The order of a conversation: who speaks when, and that every tool use has its one result right after it."""

from collections.abc import Sequence
from typing import Any

from managed_agents.simulator.checks import fail
from managed_agents.simulator.conversation import Turn
from managed_agents.simulator.errors import invalid_request


def check_order(messages: Sequence[dict[str, Any]], turns: Sequence[Turn]) -> None:
    """Raise `ApiError` (400) for the first rule that well-shaped messages break.

    `turns` are the turns of `messages`.
    """
    if messages[0]["role"] != "user":
        raise invalid_request('messages: first message must use the "user" role')
    _check_emptiness(messages, turns)
    _check_system_places(messages)
    _check_unique_ids(turns)
    _check_results(turns)
    if turns[-1].role == "assistant":
        raise invalid_request(
            "This model does not support assistant message prefill. The conversation must end with a user message."
        )


def _check_emptiness(messages: Sequence[dict[str, Any]], turns: Sequence[Turn]) -> None:
    final = len(messages) - 1
    for index, message in enumerate(messages):
        if not message["content"] and (index != final or message["role"] != "assistant"):
            fail(
                f"messages.{index}",
                "all messages must have non-empty content except for the optional final assistant message",
            )
    for turn in turns:
        for block in turn.of_kind("text"):
            if not block.body["text"]:
                raise invalid_request("messages: text content blocks must be non-empty")
            if block.body["text"].isspace():
                raise invalid_request("messages: text content blocks must contain non-whitespace text")


def _check_system_places(messages: Sequence[dict[str, Any]]) -> None:
    for index, message in enumerate(messages):
        if message["role"] != "system":
            continue
        if messages[index - 1]["role"] != "user":
            fail(f"messages.{index}", "a `system` message must directly follow a `user` message")
        if index + 1 < len(messages) and messages[index + 1]["role"] != "assistant":
            fail(
                f"messages.{index}", "a `system` message must be the last one or be followed by an `assistant` message"
            )


def _check_unique_ids(turns: Sequence[Turn]) -> None:
    seen: set[str] = set()
    for turn in turns:
        for block in turn.of_kind("tool_use"):
            if block.body["id"] in seen:
                fail(block.path, "`tool_use` ids must be unique")
            seen.add(block.body["id"])


def _check_results(turns: Sequence[Turn]) -> None:
    previous: Turn | None = None
    for turn in turns:
        uses = _use_ids(previous)
        _check_known_results(turn, uses)
        _check_answered(previous, uses, turn)
        previous = turn
    _check_answered(previous, _use_ids(previous), None)


def _use_ids(turn: Turn | None) -> list[str]:
    return [block.body["id"] for block in turn.of_kind("tool_use")] if turn else []


def _check_known_results(turn: Turn, uses: Sequence[str]) -> None:
    results = turn.of_kind("tool_result")
    if [block.body["tool_use_id"] for block in results] == uses:
        return
    answered: set[str] = set()
    for block in results:
        use = block.body["tool_use_id"]
        if use not in uses:
            fail(
                block.path,
                f"unexpected `tool_use_id` found in `tool_result` blocks: {use}. Each `tool_result` block must have a "
                "corresponding `tool_use` block in the previous message.",
            )
        if use in answered:
            fail(
                block.path,
                f"each tool_use must have a single result. Found multiple `tool_result` blocks with id: {use}",
            )
        answered.add(use)


def _check_answered(turn: Turn | None, uses: Sequence[str], following: Turn | None) -> None:
    if turn is None or not uses:
        return
    answered = set()
    # Only results at the start of the message count: the API does not look past another block.
    for block in following.blocks if following else ():
        if block.kind != "tool_result":
            break
        answered.add(block.body["tool_use_id"])
    missing = [use for use in uses if use not in answered]
    if missing:
        fail(
            f"messages.{turn.message}",
            f"`tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(missing)}. Each "
            "`tool_use` block must have a corresponding `tool_result` block in the next message.",
        )
