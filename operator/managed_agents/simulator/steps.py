"""What a script says: a step is the model's answer to one request."""

from dataclasses import dataclass
from typing import Any, Literal

StopReason = Literal["end_turn", "tool_use", "max_tokens", "refusal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A tool the model calls; templates in the strings of `input` are filled in."""

    name: str
    input: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """When the answer comes, in seconds.

    `delay` passes before the response headers, `hang` after them in silence, `first_token` between `message_start` and
    the first token (with pings, as a thinking model), `chunk` between two tokens.
    """

    delay: float = 0.0
    hang: float = 0.0
    first_token: float = 0.0
    chunk: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An error instead of an answer."""

    status: int
    error_type: str
    message: str
    retry_after_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """The answer ends after that many characters of content: by closing the connection, or by an `error` event."""

    after_chars: int
    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Strings that the conversation must hold, as seen by the request the step would answer; `None` always holds."""

    last_tool_result_contains: str | None = None
    last_user_text_contains: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One answer. `times` is how many requests meet the step's `error`, `cut` or `hang`, before it is over."""

    text: str | None = None
    thinking: str | None = None
    tools: tuple[ToolCall, ...] = ()
    stop_reason: StopReason | None = None
    category: str | None = None
    explanation: str | None = None
    pace: Pace = Pace()
    cut: Cut | None = None
    error: Failure | None = None
    times: int = 1
    when: Condition | None = None
    unless: Condition | None = None
    i: int = 1
    """Which repetition of a repeated step this is, from 1; `{{i}}` in templates."""
