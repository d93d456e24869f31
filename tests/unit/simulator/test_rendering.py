"""The bytes of an answer."""

from typing import Any

import orjson
import pytest

from managed_agents.simulator.answer import Answer, TextPart, ThinkingPart, ToolUsePart
from managed_agents.simulator.rendering import CHUNKS_MAX, Envelope, frames_of, message_of
from managed_agents.simulator.steps import Cut, Failure
from managed_agents.simulator.usage import InputUsage

ENVELOPE = Envelope(message_id="msg_1", model="simulated", request_id="req_1", usage=InputUsage(uncached=7, read=2))
WHOLE = Answer(
    parts=(
        ThinkingPart(thinking="Hm.", signature="s"),
        TextPart(text="abcdefghijklmnopqrstuvwxyz"),
        ToolUsePart(id="toolu_1", name="bash", input={"command": "ls"}),
    ),
    stop_reason="tool_use",
)


def events(answer: Answer) -> list[dict[str, Any]]:
    found = []
    for frame in frames_of(answer, ENVELOPE):
        name, data, *rest = frame.data.decode().split("\n")
        assert rest == ["", ""]
        event = orjson.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        assert frame.is_token == (event["type"] == "content_block_delta")
        found.append(event)
    return found


def test_stream_has_every_event_in_the_order_of_the_api() -> None:
    assert [(event["type"], event.get("index")) for event in events(WHOLE)] == [
        ("message_start", None),
        ("ping", None),
        ("content_block_start", 0),
        ("content_block_delta", 0),
        ("content_block_delta", 0),
        ("content_block_stop", 0),
        ("content_block_start", 1),
        ("content_block_delta", 1),
        ("content_block_delta", 1),
        ("content_block_stop", 1),
        ("content_block_start", 2),
        ("content_block_delta", 2),
        ("content_block_stop", 2),
        ("message_delta", None),
        ("message_stop", None),
    ]


def test_deltas_add_up_to_the_message() -> None:
    deltas = [event["delta"] for event in events(WHOLE) if event["type"] == "content_block_delta"]

    assert "".join(delta.get("text", "") for delta in deltas) == "abcdefghijklmnopqrstuvwxyz"
    assert "".join(delta.get("thinking", "") for delta in deltas) == "Hm."
    assert orjson.loads("".join(delta.get("partial_json", "") for delta in deltas)) == {"command": "ls"}
    assert [delta["signature"] for delta in deltas if delta["type"] == "signature_delta"] == ["s"]


def test_stream_and_object_agree_on_usage_and_stop_reason() -> None:
    message = message_of(WHOLE, ENVELOPE)
    end = next(event for event in events(WHOLE) if event["type"] == "message_delta")

    assert end["delta"]["stop_reason"] == message["stop_reason"] == "tool_use"
    assert {key: message["usage"][key] for key in end["usage"]} == end["usage"]
    assert end["usage"]["output_tokens"] == 13
    assert end["usage"]["output_tokens_details"] == {"thinking_tokens": 1}
    assert (message["usage"]["input_tokens"], message["usage"]["cache_read_input_tokens"]) == (7, 2)


@pytest.mark.parametrize("after_chars", [0, 1, 3, 10, 16, 28])
def test_cut_stream_ends_after_exactly_that_many_characters(after_chars: int) -> None:
    cut = Answer(parts=WHOLE.parts, stop_reason="tool_use", cut=Cut(after_chars=after_chars))

    found = events(cut)

    deltas = [event["delta"] for event in found if event["type"] == "content_block_delta"]
    assert sum(len(delta.get("text", "") + delta.get("thinking", "")) for delta in deltas) == after_chars
    assert {"message_delta", "message_stop"}.isdisjoint({event["type"] for event in found})


def test_cut_inside_tool_input_leaves_partial_json() -> None:
    found = events(Answer(parts=WHOLE.parts, stop_reason="tool_use", cut=Cut(after_chars=3 + 26 + 5)))

    assert found[-1]["delta"] == {"type": "input_json_delta", "partial_json": '{"com'}


def test_cut_beyond_the_end_leaves_out_only_the_end() -> None:
    found = events(Answer(parts=(TextPart(text="abc"),), stop_reason="end_turn", cut=Cut(after_chars=99)))

    assert found[-1] == {"type": "content_block_stop", "index": 0}


def test_cut_with_an_error_ends_with_that_event() -> None:
    failure = Failure(status=529, error_type="overloaded_error", message="Overloaded")

    found = events(Answer(parts=WHOLE.parts, stop_reason="tool_use", cut=Cut(after_chars=4, failure=failure)))

    assert found[-1] == {
        "type": "error",
        "error": {"type": "overloaded_error", "message": "Overloaded"},
        "request_id": "req_1",
    }


def test_long_text_comes_in_a_bounded_number_of_deltas() -> None:
    found = events(Answer(parts=(TextPart(text="x" * 100_000),), stop_reason="end_turn"))

    assert sum(event["type"] == "content_block_delta" for event in found) == CHUNKS_MAX


def test_refusal_has_no_content_and_says_why() -> None:
    details = {"type": "refusal", "category": None, "explanation": None}
    refusal = Answer(parts=(), stop_reason="refusal", stop_details=details)

    assert message_of(refusal, ENVELOPE)["content"] == []
    assert next(e for e in events(refusal) if e["type"] == "message_delta")["delta"]["stop_details"] == details
