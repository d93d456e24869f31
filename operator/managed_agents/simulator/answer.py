"""What the model answers, before it becomes bytes."""

from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from managed_agents.simulator.steps import Cut, Pace, StopReason


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPart:
    """A `text` block."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ThinkingPart:
    """A `thinking` block; the client must return it unchanged."""

    thinking: str
    signature: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolUsePart:
    """A `tool_use` block."""

    id: str
    name: str
    input: dict[str, Any]


Part = TextPart | ThinkingPart | ToolUsePart


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole answer. `step` is the position of its step in the script, `None` without one."""

    parts: tuple[Part, ...]
    stop_reason: StopReason
    stop_details: dict[str, Any] | None = None
    pace: Pace = field(default_factory=Pace)
    cut: Cut | None = None
    step: int | None = None


def part_chars(part: Part) -> int:
    """How many characters of output the part is; signatures are not output."""
    match part:
        case TextPart(text=text):
            return len(text)
        case ThinkingPart(thinking=thinking):
            return len(thinking)
        case ToolUsePart(name=name, input=arguments):
            return len(name) + len(orjson.dumps(arguments))


def limited(answer: Answer, chars_max: int) -> Answer:
    """The answer as `max_tokens` leaves it: cut inside a text, without blocks that do not fit."""
    left = chars_max
    kept: list[Part] = []
    for part in answer.parts:
        size = part_chars(part)
        if size > left:
            if isinstance(part, TextPart) and left > 0:
                kept.append(TextPart(text=part.text[:left]))
            return replace(answer, parts=tuple(kept), stop_reason="max_tokens", stop_details=None)
        kept.append(part)
        left -= size
    return answer
