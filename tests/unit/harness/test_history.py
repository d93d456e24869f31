"""The fold and the request it leads to: pure, the same bytes however the log was read (guarantees I8, F12)."""

from typing import Any

import orjson
import pytest

from managed_agents.contracts.events import types
from managed_agents.harness.history.conversation import Conversation
from managed_agents.harness.history.fold import active_seconds, fold
from managed_agents.harness.history.repair import NO_OUTPUT, NO_RESULT, assistant_content, tool_result, user_content
from managed_agents.harness.history.request import body_for, head_for
from managed_agents.harness.history.state import State
from managed_agents.harness.session import session_for
from support.harness import CUSTOM_TOOL, TOOLSET, config_for, running
from support.harness import message as user_message
from support.models import Answer, text, tool
from support.requirements import requirement

MARKER = {"type": "ephemeral"}


def block(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


def call(use: str) -> dict[str, Any]:
    return {"type": "tool_use", "id": use, "name": "bash", "input": {}}


def decoded(conversation: Conversation) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = orjson.loads(b"[%b]" % b"".join(conversation.messages()))
    return messages


async def test_rebuilt_context_is_the_context_that_was_kept() -> None:
    script = [Answer(text("One."), tool("bash", command="ls"), tool("read", file_path="x"))] * 5
    async with running(*script, Answer(text("Done."))) as harness:
        await harness.turn(user_message("go"))
        await harness.turn(user_message("more"))

        head = head_for(session_for(config_for()), max_tokens=32_000)
        for cut in range(1, 40, 7):
            state = fold(State(), harness.platform.log()[:cut])
            state = fold(state, harness.platform.log()[cut:])
            assert state.conversation.messages() == fold(State(), harness.platform.log()).conversation.messages()
        state, bodies = State(), []
        for event in harness.platform.log():
            fold(state, [event])
            if event["type"] == types.REQUEST_START:
                bodies.append(bytes(body_for(head, state.conversation)))
        assert bodies == harness.model.requests


def test_unknown_event_types_move_the_head_only() -> None:
    state = fold(State(), [{"id": "sevt_1", "type": "agent.daydream", "position": 1, "processed_at": None}])

    assert state.head == 1
    assert state.conversation.messages() == []


def test_running_time_is_what_the_server_stamped() -> None:
    events = [
        {"id": "a", "type": types.STATUS_RUNNING, "position": 1, "processed_at": "2026-01-01T00:00:00Z"},
        {
            "id": "b",
            "type": types.STATUS_IDLE,
            "position": 2,
            "processed_at": "2026-01-01T00:00:02.5Z",
            "stop_reason": {"type": "end_turn"},
        },
        {"id": "c", "type": types.STATUS_RUNNING, "position": 3, "processed_at": "2026-01-01T01:00:00Z"},
        {"id": "d", "type": types.REQUEST_START, "position": 4, "processed_at": "2026-01-01T01:00:01Z"},
    ]

    assert active_seconds(fold(State(), events)) == 3.5


def test_the_last_two_user_messages_carry_cache_markers() -> None:
    conversation = Conversation()
    for turn in ("one", "two", "three"):
        conversation.say([block(turn)])
        conversation.respond([block(f"answer to {turn}")])
    conversation.say([block("four"), block("five")])

    marked = [
        (index, [item["text"] for item in message["content"] if "cache_control" in item])
        for index, message in enumerate(decoded(conversation))
    ]
    assert marked == [(0, []), (1, []), (2, []), (3, []), (4, ["three"]), (5, []), (6, ["five"])]


def test_results_come_first_and_inputs_after_them() -> None:
    conversation = Conversation()
    conversation.say([block("go")])
    conversation.respond([call("a"), call("b")])
    conversation.say([block("also")])
    conversation.answer("b", tool_result("b", "two", is_error=False))
    conversation.answer("a", tool_result("a", "one", is_error=True))

    content = decoded(conversation)[2]["content"]
    assert [item.get("tool_use_id") or item["text"] for item in content] == ["a", "b", "also"]
    assert content[0]["is_error"]


def test_response_with_nothing_to_say_leaves_no_trace() -> None:
    conversation = Conversation()
    conversation.say([block("go")])
    conversation.respond([{"type": "thinking", "thinking": "hm", "signature": "s"}, block("")])
    conversation.say([block("still there?")])

    assert [item["text"] for item in decoded(conversation)[0]["content"]] == ["go", "still there?"]


@requirement("I8")
@pytest.mark.parametrize(
    ("calls", "results", "expected"),
    [
        ([], {}, []),
        (["a"], {}, [tool_result("a", NO_RESULT, is_error=True)]),
        ([], {"orphan": tool_result("orphan", "x", is_error=False)}, []),
        (["a"], {"a": tool_result("a", [], is_error=False)}, [tool_result("a", NO_OUTPUT, is_error=False)]),
    ],
)
def test_repair_answers_each_call_once(calls: list[str], results: dict[str, Any], expected: list[Any]) -> None:
    repaired = user_content(calls, results, [block("  "), block("hi")])

    assert repaired == [*expected, block("hi")]


@requirement("I8")
def test_repairing_twice_gives_the_same_bytes() -> None:
    blocks = [block(""), call("a"), call("a"), block("x")]
    once = assistant_content(blocks)
    assert orjson.dumps(assistant_content(once)) == orjson.dumps(once)

    results = {"b": tool_result("b", None, is_error=False)}
    first = user_content(["a", "b"], results, [block(" ")])
    again = user_content(["a", "b"], {item["tool_use_id"]: item for item in first}, [])
    assert orjson.dumps(again) == orjson.dumps(first)


def test_head_passes_on_what_the_agent_sets() -> None:
    config = config_for([TOOLSET])
    config["agent"]["model"] = {"id": "claude-opus-5-5", "effort": {"type": "high"}, "inference_geo": "us"}
    head = orjson.loads(head_for(session_for(config), max_tokens=100) + b"}")

    assert head["model"] == "claude-opus-5-5"
    assert head["max_tokens"] == 100
    assert head["thinking"] == {"type": "adaptive"}
    assert head["output_config"] == {"effort": "high"}
    assert head["inference_geo"] == "us"
    assert head["stream"]
    assert head["system"][0]["cache_control"] == MARKER
    assert "/mnt/session/outputs" in head["system"][0]["text"]
    sandboxed = ["bash", "read", "write", "edit", "glob", "grep"]
    assert [item["name"] for item in head["tools"]] == [*sandboxed, "web_fetch", "web_search"]


def test_tools_carry_the_marker_where_there_is_no_system_prompt() -> None:
    config = config_for([CUSTOM_TOOL])
    config["agent"]["system"] = None
    head = orjson.loads(head_for(session_for(config), max_tokens=100) + b"}")

    assert "system" not in head
    assert [item.get("cache_control") for item in head["tools"]] == [MARKER]


def test_agent_without_system_and_tools_sends_neither() -> None:
    config = config_for([])
    config["agent"]["system"] = None
    head = orjson.loads(head_for(session_for(config), max_tokens=100) + b"}")

    assert set(head) == {"model", "max_tokens", "stream"}
