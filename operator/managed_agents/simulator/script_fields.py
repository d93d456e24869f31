"""One step of a script from its YAML mapping; every refusal says where, what was found and what is allowed."""

from collections.abc import Collection
from typing import Any, Final

from managed_agents.simulator.errors import STATUS_OF_TYPE
from managed_agents.simulator.steps import Condition, Cut, Failure, Pace, Step, StopReason, ToolCall

SECONDS_MAX: Final = 3600
TIMES_MAX: Final = 1_000_000
REPEAT_MAX: Final = 10_000

_CONTENT: Final = ("text", "thinking", "tool", "input", "tools", "stop_reason", "category", "explanation")
_PACE: Final = {
    "delay_seconds": "delay",
    "first_token_delay_seconds": "first_token",
    "chunk_delay_seconds": "chunk",
    "hang_seconds": "hang",
}
_ALWAYS: Final = ("if", "unless", "repeat", "times", "delay_seconds")
_STEP: Final = (*_CONTENT, "error", "cut", "if", "unless", "repeat", "times", *_PACE)
_CONDITION: Final = ("last_tool_result_contains", "last_user_text_contains")
_CATEGORIES: Final = ("cyber", "bio", "frontier_llm", "reasoning_extraction", "general_harms")


class ScriptError(ValueError):
    """A script that cannot be followed; the text says where and what is allowed."""


def step_from(value: Any, place: str) -> tuple[Step, int]:
    """The step and how often it is repeated. Raises `ScriptError`."""
    step = _mapping(value, place, _STEP)
    _check_combination(step, place)
    cut = _cut(step["cut"], place) if "cut" in step else None
    stop_reason: StopReason | None = step.get("stop_reason")
    return (
        Step(
            text=_text(step, "text", place),
            thinking=_text(step, "thinking", place),
            tools=_tools(step, place),
            stop_reason=stop_reason,
            category=_one_of(step, "category", _CATEGORIES, place),
            explanation=_text(step, "explanation", place),
            pace=Pace(**{name: _number(step, key, place, SECONDS_MAX) for key, name in _PACE.items() if key in step}),
            cut=cut,
            error=_failure(step["error"], f"{place}: error") if "error" in step else None,
            times=_integer(step, "times", place, 1, TIMES_MAX),
            when=_condition(step, "if", place),
            unless=_condition(step, "unless", place),
        ),
        _integer(step, "repeat", place, 1, REPEAT_MAX),
    )


def _check_combination(step: dict[str, Any], place: str) -> None:
    if not any(name in step for name in (*_CONTENT, *_PACE, "error", "cut")):
        raise ScriptError(f"{place}: the step says nothing; give it text, tool, tools, error, stop_reason or a delay")
    if "error" in step and (others := [name for name in step if name not in ("error", *_ALWAYS)]):
        raise ScriptError(f"{place}: a step with `error` has no `{others[0]}`; make that the next step")
    if "input" in step and "tool" not in step:
        raise ScriptError(f"{place}: `input` belongs to `tool`; several calls go under `tools: [{{name, input}}]`")
    if "tool" in step and "tools" in step:
        raise ScriptError(f"{place}: a step has `tool` or `tools`, not both")
    if "times" in step and not any(name in step for name in ("error", "cut", "hang_seconds")):
        raise ScriptError(
            f"{place}: `times` belongs to `error`, `cut` or `hang_seconds`; to repeat a step use `repeat`"
        )
    if "stop_reason" in step:
        _one_of(step, "stop_reason", ("end_turn", "max_tokens", "refusal"), place)
        if "tool" in step or "tools" in step:
            raise ScriptError(f"{place}: a step with tools ends with `tool_use`; leave `stop_reason` out")
    if ("category" in step or "explanation" in step) and step.get("stop_reason") != "refusal":
        raise ScriptError(f"{place}: `category` and `explanation` belong to `stop_reason: refusal`")


def _tools(step: dict[str, Any], place: str) -> tuple[ToolCall, ...]:
    if "tool" in step:
        return (_tool_call({"name": step["tool"], "input": step.get("input", {})}, f"{place}: tool"),)
    if "tools" not in step:
        return ()
    calls = step["tools"]
    if not isinstance(calls, list) or not calls:
        raise ScriptError(f"{place}: `tools` is a list of {{name, input}}; found {calls!r}")
    return tuple(_tool_call(call, f"{place}: tools[{index}]") for index, call in enumerate(calls))


def _tool_call(value: Any, place: str) -> ToolCall:
    call = _mapping(value, place, ("name", "input"))
    name = call.get("name")
    if not isinstance(name, str) or not name:
        raise ScriptError(f"{place}: the tool's name is a text such as `bash`; found {name!r}")
    arguments = call.get("input", {})
    if not isinstance(arguments, dict) or not all(isinstance(key, str) for key in arguments):
        raise ScriptError(f'{place}: `input` is a mapping such as {{command: "ls"}}; found {arguments!r}')
    return ToolCall(name=name, input=arguments)


def _failure(value: Any, place: str) -> Failure:
    error = _mapping(value, place, ("status", "type", "message", "retry_after"))
    status, error_type = error.get("status"), error.get("type")
    if status is None and error_type is None:
        raise ScriptError(f"{place}: give a `status` such as 529 or a `type` such as overloaded_error")
    if error_type is None:
        error_type = next((name for name, known in STATUS_OF_TYPE.items() if known == status), "api_error")
    if not isinstance(error_type, str):
        raise ScriptError(f"{place}: `type` is a text such as overloaded_error; found {error_type!r}")
    if status is None:
        status = STATUS_OF_TYPE.get(error_type, 500)
    if isinstance(status, bool) or not isinstance(status, int) or not 400 <= status <= 599:
        raise ScriptError(f"{place}: `status` is a number from 400 to 599; found {status!r}")
    return Failure(
        status=status,
        error_type=error_type,
        message=_text(error, "message", place) or f"Simulated {error_type}",
        retry_after_seconds=_number(error, "retry_after", place, SECONDS_MAX) if "retry_after" in error else None,
    )


def _cut(value: Any, place: str) -> Cut:
    place = f"{place}: cut"
    cut = _mapping(value, place, ("after_chars", "error"))
    return Cut(
        after_chars=_integer(cut, "after_chars", place, 0, 10_000_000),
        failure=_failure(cut["error"], f"{place}: error") if "error" in cut else None,
    )


def _condition(step: dict[str, Any], name: str, place: str) -> Condition | None:
    if name not in step:
        return None
    place = f"{place}: {name}"
    condition = _mapping(step[name], place, _CONDITION)
    if not condition:
        raise ScriptError(f"{place}: the condition is empty; allowed are {', '.join(_CONDITION)}")
    return Condition(**{key: _text(condition, key, place) for key in condition})


def _mapping(value: Any, place: str, allowed: Collection[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ScriptError(f"{place}: expected a mapping with {', '.join(allowed)}; found {value!r}")
    for key in value:
        if key not in allowed:
            raise ScriptError(f"{place}: unknown key {key!r}; allowed are {', '.join(allowed)}")
    return value


def _text(mapping: dict[str, Any], key: str, place: str) -> str | None:
    value = mapping.get(key)
    if key in mapping and (not isinstance(value, str) or not value.strip()):
        raise ScriptError(f"{place}: `{key}` is a text that is not empty; found {value!r}; quote numbers and booleans")
    return value


def _one_of(mapping: dict[str, Any], key: str, allowed: Collection[str], place: str) -> str | None:
    value: str | None = mapping.get(key)
    if key in mapping and value not in allowed:
        raise ScriptError(f"{place}: `{key}` is one of {', '.join(allowed)}; found {value!r}")
    return value


def _number(mapping: dict[str, Any], key: str, place: str, maximum: float) -> float:
    value = mapping[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= maximum:
        raise ScriptError(f"{place}: `{key}` is a number of seconds from 0 to {maximum}; found {value!r}")
    return float(value)


def _integer(mapping: dict[str, Any], key: str, place: str, minimum: int, maximum: int) -> int:
    value = mapping.get(key, minimum)
    if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
        raise ScriptError(f"{place}: `{key}` is a whole number from {minimum} to {maximum}; found {value!r}")
    return value
