"""An answer as bytes: the events of a stream, or one message object."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, assert_never

import orjson

from managed_agents.simulator.answer import Answer, Part, TextPart, ThinkingPart, ToolUsePart, part_chars
from managed_agents.simulator.errors import envelope_of
from managed_agents.simulator.usage import InputUsage, tokens_of

CHUNK_CHARS_MIN: Final = 16
CHUNKS_MAX: Final = 200
"""A block comes in at most this many deltas, so that a long text costs no more than a short one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One server-sent event; `is_token` marks the deltas that carry content."""

    data: bytes
    is_token: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What goes around an answer."""

    message_id: str
    model: str
    request_id: str
    usage: InputUsage
    speed: str | None = None


def frame(event: str, data: dict[str, Any], *, is_token: bool = False) -> Frame:
    """The event in the form `event: NAME`, `data: JSON`, empty line."""
    return Frame(data=b"event: %b\ndata: %b\n\n" % (event.encode(), orjson.dumps(data)), is_token=is_token)


PING: Final = frame("ping", {"type": "ping"})


def message_of(answer: Answer, envelope: Envelope) -> dict[str, Any]:
    """The whole message, as a request without `stream` gets it."""
    return {
        **_message_head(envelope),
        "content": [_content_block(part) for part in answer.parts],
        "stop_reason": answer.stop_reason,
        "stop_details": answer.stop_details,
        "usage": usage_of(envelope.usage, _output_tokens(answer), _thinking_tokens(answer)),
    }


def frames_of(answer: Answer, envelope: Envelope) -> Iterator[Frame]:
    """The events of the answer in order; a cut answer ends early, without `message_stop`."""
    left = answer.cut.after_chars if answer.cut else None
    speed = {"speed": envelope.speed} if envelope.speed else {}
    start = {**_message_head(envelope), "usage": usage_of(envelope.usage, 1, 0) | speed}
    yield frame("message_start", {"type": "message_start", "message": start})
    yield PING
    for index, part in enumerate(answer.parts):
        block = {"type": "content_block_start", "index": index, "content_block": _empty_block(part)}
        yield frame("content_block_start", block)
        for kind, field, piece in _pieces(part):
            cut_here = left is not None and kind != "signature_delta" and len(piece) >= left
            text = piece[:left] if cut_here else piece
            if text or not cut_here:
                yield _delta_frame(index, kind, field, text)
            if cut_here:
                yield from _cut_frames(answer, envelope)
                return
            left = None if left is None else left - len(piece) * (kind != "signature_delta")
        yield frame("content_block_stop", {"type": "content_block_stop", "index": index})
    if answer.cut:
        yield from _cut_frames(answer, envelope)
        return
    yield _message_delta(answer, envelope)
    yield frame("message_stop", {"type": "message_stop"})


def usage_of(usage: InputUsage, output_tokens: int, thinking_tokens: int) -> dict[str, Any]:
    """The `usage` object of a message."""
    return {
        "input_tokens": usage.uncached,
        "cache_creation_input_tokens": usage.created_5m + usage.created_1h,
        "cache_read_input_tokens": usage.read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.created_5m,
            "ephemeral_1h_input_tokens": usage.created_1h,
        },
        "output_tokens": output_tokens,
        "output_tokens_details": {"thinking_tokens": thinking_tokens},
        "service_tier": "standard",
    }


def _message_head(envelope: Envelope) -> dict[str, Any]:
    return {
        "id": envelope.message_id,
        "type": "message",
        "role": "assistant",
        "model": envelope.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "stop_details": None,
    }


def _message_delta(answer: Answer, envelope: Envelope) -> Frame:
    usage = usage_of(envelope.usage, _output_tokens(answer), _thinking_tokens(answer))
    del usage["cache_creation"], usage["service_tier"]
    delta = {"stop_reason": answer.stop_reason, "stop_sequence": None, "stop_details": answer.stop_details}
    return frame("message_delta", {"type": "message_delta", "delta": delta, "usage": usage})


def _cut_frames(answer: Answer, envelope: Envelope) -> Iterator[Frame]:
    failure = answer.cut.failure if answer.cut else None
    if failure is not None:
        yield frame("error", envelope_of(failure.error_type, failure.message, envelope.request_id))


def _delta_frame(index: int, kind: str, field: str, piece: str) -> Frame:
    delta = {"type": "content_block_delta", "index": index, "delta": {"type": kind, field: piece}}
    return frame("content_block_delta", delta, is_token=True)


def _content_block(part: Part) -> dict[str, Any]:
    match part:
        case TextPart(text=text):
            return {"type": "text", "text": text, "citations": None}
        case ThinkingPart(thinking=thinking, signature=signature):
            return {"type": "thinking", "thinking": thinking, "signature": signature}
        case ToolUsePart(id=use, name=name, input=arguments):
            return {"type": "tool_use", "id": use, "name": name, "input": arguments, "caller": {"type": "direct"}}
        case _:
            assert_never(part)


def _empty_block(part: Part) -> dict[str, Any]:
    block = _content_block(part)
    match part:
        case TextPart():
            return {**block, "text": ""}
        case ThinkingPart():
            return {**block, "thinking": "", "signature": ""}
        case ToolUsePart():
            return {**block, "input": {}}
        case _:
            assert_never(part)


def _pieces(part: Part) -> Iterator[tuple[str, str, str]]:
    """The deltas of a block: type, name of the field, and text."""
    match part:
        case TextPart(text=text):
            yield from (("text_delta", "text", piece) for piece in _chunks(text))
        case ThinkingPart(thinking=thinking, signature=signature):
            yield from (("thinking_delta", "thinking", piece) for piece in _chunks(thinking))
            yield "signature_delta", "signature", signature
        case ToolUsePart(input=arguments):
            yield from (
                ("input_json_delta", "partial_json", piece) for piece in _chunks(orjson.dumps(arguments).decode())
            )
        case _:
            assert_never(part)


def _chunks(text: str) -> Iterator[str]:
    size = max(CHUNK_CHARS_MIN, -(-len(text) // CHUNKS_MAX))
    return (text[start : start + size] for start in range(0, len(text), size))


def _output_tokens(answer: Answer) -> int:
    return max(1, tokens_of(sum(part_chars(part) for part in answer.parts)))


def _thinking_tokens(answer: Answer) -> int:
    return tokens_of(sum(len(part.thinking) for part in answer.parts if isinstance(part, ThinkingPart)))
