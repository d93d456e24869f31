"""A request body becomes a `Request`, or the refusal the Messages API would send."""

from dataclasses import dataclass
from typing import Any

from managed_agents.simulator.conversation import Turn, turns_of
from managed_agents.simulator.ordering import check_order
from managed_agents.simulator.shapes import Seen, check_shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A well-formed request. `body` is what the client sent; `max_tokens` is 0 when tokens are only counted."""

    body: dict[str, Any]
    model: str
    max_tokens: int
    stream: bool
    turns: tuple[Turn, ...]
    tool_names: frozenset[str]
    shows_thinking: bool
    """False if the client switched thinking off: scripted thinking is then left out."""
    omits_thinking_text: bool


def validated(body: Any, seen: Seen | None = None, *, counting: bool = False) -> Request:
    """The request, or `ApiError` (400). Equal bodies give equal results; `seen` spares looking at messages twice."""
    check_shape(body, seen or Seen(), counting=counting)
    turns = turns_of(body["messages"])
    check_order(body["messages"], turns)
    thinking = body.get("thinking") or {}
    uses_tools = (body.get("tool_choice") or {}).get("type") != "none"
    return Request(
        body=body,
        model=body["model"],
        max_tokens=0 if counting else body["max_tokens"],
        stream=bool(body.get("stream")),
        turns=turns,
        tool_names=frozenset(str(tool.get("name", "")) for tool in body.get("tools") or () if uses_tools),
        shows_thinking=thinking.get("type") != "disabled",
        omits_thinking_text=thinking.get("display") == "omitted",
    )
