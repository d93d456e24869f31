"""From a request and what scripts it: the answer. Pure, so that a restart changes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from managed_agents.simulator.answer import Answer, Part, TextPart, ThinkingPart, ToolUsePart, limited
from managed_agents.simulator.conversation import Turn, last_tool_result, last_user_text
from managed_agents.simulator.signatures import signature_of
from managed_agents.simulator.steps import Condition, Failure, Pace, Step, StopReason
from managed_agents.simulator.templates import filled
from managed_agents.simulator.unscripted import unscripted_parts
from managed_agents.simulator.usage import CHARS_PER_TOKEN
from managed_agents.simulator.validation import Request

DEFAULT_TEXT: Final = "Simulated answer."
FINISHED_TEXT: Final = "The script is finished."


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """Steps, and the position in the turns of the user turn they begin at."""

    steps: tuple[Step, ...]
    turn: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Next:
    step: Step
    position: int
    attempt: int


def plan(request: Request, script: Script | None, *, attempt: int, seed: str) -> Answer | Failure:
    """The answer to the request, or the error it meets.

    `attempt` counts the earlier requests with this very conversation: it decides whether `times` is used up. `seed`
    makes the ids of tool uses unique.
    """
    if script is None:
        return _unscripted(request, seed)
    following = _next_step(script, request.turns, attempt)
    if following is None:
        return _after_script(request, script, seed)
    if following.step.error is not None:
        return following.step.error
    return _scripted(request, following, seed)


def _next_step(script: Script, turns: Sequence[Turn], attempt: int) -> _Next | None:
    """The step for this request: each assistant turn since the script used one up, in order.

    Steps whose condition did not hold at their request were passed over, which is seen again in the same turns.
    """
    position = 0
    answered = [index for index in range(script.turn + 1, len(turns)) if turns[index].role == "assistant"]
    for index in answered:
        while position < len(script.steps) and not _answered(script.steps[position], turns, index):
            position += 1
        position += 1
    while position < len(script.steps):
        step = script.steps[position]
        if not _holds(step, turns, len(turns)):
            position += 1
        elif step.error is not None and attempt >= step.times:
            attempt -= step.times
            position += 1
        else:
            return _Next(step=step, position=position, attempt=attempt)
    return None


def _answered(step: Step, turns: Sequence[Turn], index: int) -> bool:
    return step.error is None and _holds(step, turns, index)


def _holds(step: Step, turns: Sequence[Turn], index: int) -> bool:
    """Whether the step's conditions held for a request with the first `index` turns."""
    if step.when is None and step.unless is None:
        return True
    if step.when is not None and not _is_met(step.when, turns, index):
        return False
    return step.unless is None or not _is_met(step.unless, turns, index)


def _is_met(condition: Condition, turns: Sequence[Turn], end: int) -> bool:
    result, text = condition.last_tool_result_contains, condition.last_user_text_contains
    if result is not None and result not in last_tool_result(turns, end):
        return False
    return text is None or text in last_user_text(turns, end)


def _scripted(request: Request, following: _Next, seed: str) -> Answer:
    step = following.step
    is_disturbed = following.attempt < step.times
    stop_reason: StopReason = step.stop_reason or ("tool_use" if step.tools else "end_turn")
    answer = Answer(
        parts=tuple(_parts(request, step, seed)),
        stop_reason=stop_reason,
        stop_details=_stop_details(step) if stop_reason == "refusal" else None,
        pace=step.pace if is_disturbed else replace(step.pace, hang=0.0),
        cut=step.cut if is_disturbed else None,
        step=following.position,
    )
    return limited(answer, request.max_tokens * CHARS_PER_TOKEN)


def _parts(request: Request, step: Step, seed: str) -> list[Part]:
    parts: list[Part] = []
    if step.thinking is not None and request.shows_thinking:
        thinking = "" if request.omits_thinking_text else filled(step.thinking, request.turns, step.i)
        parts.append(ThinkingPart(thinking=thinking, signature=signature_of(thinking)))
    text = step.text
    if text is None and not step.tools and step.stop_reason != "refusal":
        text = DEFAULT_TEXT
    # A template may turn out empty, and the API never sends an empty text block.
    if text is not None and (words := filled(text, request.turns, step.i)).strip():
        parts.append(TextPart(text=words))
    for index, call in enumerate(step.tools):
        arguments = filled(call.input, request.turns, step.i)
        parts.append(ToolUsePart(id=f"toolu_{seed}{index:02d}", name=call.name, input=arguments))
    return parts


def _stop_details(step: Step) -> dict[str, Any]:
    return {"type": "refusal", "category": step.category, "explanation": step.explanation}


def _after_script(request: Request, script: Script, seed: str) -> Answer:
    """What comes after the last step: later messages of the user are answered as without a script."""
    said_since = request.turns[script.turn + 1 :]
    if any(turn.role == "user" and turn.of_kind("text") for turn in said_since):
        return _unscripted(request, seed)
    return Answer(parts=(TextPart(text=FINISHED_TEXT),), stop_reason="end_turn")


def _unscripted(request: Request, seed: str) -> Answer:
    parts = unscripted_parts(request.turns, request.tool_names, f"toolu_{seed}00")
    stop_reason: StopReason = "tool_use" if isinstance(parts[-1], ToolUsePart) else "end_turn"
    return limited(Answer(parts=parts, stop_reason=stop_reason, pace=Pace()), request.max_tokens * CHARS_PER_TOKEN)
