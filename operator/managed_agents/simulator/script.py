"""Scripts are YAML lists of steps, in a fenced block of a user message or in the body of a test's request."""

import re
import textwrap
from dataclasses import replace
from typing import Any, Final

import yaml

from managed_agents.simulator.script_fields import ScriptError, step_from
from managed_agents.simulator.steps import Step

SCRIPT_CHARS_MAX: Final = 256 * 1024
STEPS_MAX: Final = 10_000

_FENCE: Final = re.compile(
    r"^[ \t]*(?P<fence>`{3,})script[ \t]*\r?\n(?P<body>.*?)^[ \t]*(?P=fence)`*[ \t]*\r?$", re.MULTILINE | re.DOTALL
)
_OPENING: Final = re.compile(r"^[ \t]*`{3,}script[ \t]*\r?$", re.MULTILINE)
_Loader: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def script_in(text: str) -> str | None:
    """The last fenced script of a user message, dedented, or `None`.

    Raises `ScriptError` for a block that is opened and not closed.
    """
    if "```script" not in text:
        return None
    found = list(_FENCE.finditer(text))
    if found:
        return textwrap.dedent(found[-1]["body"])
    if _OPENING.search(text):
        raise ScriptError("the script block is not closed; end it with a line of ``` alone")
    return None


def without_scripts(text: str) -> str:
    """The text with its fenced scripts taken out."""
    return _FENCE.sub("", text).strip() if "```script" in text else text


def parse_script(text: str) -> tuple[Step, ...]:
    """The steps of a YAML script, repetitions written out.

    Raises `ScriptError` naming the line (1 is the first line of the script) and what is allowed there.
    """
    if len(text) > SCRIPT_CHARS_MAX:
        raise ScriptError(f"the script has {len(text)} characters; at most {SCRIPT_CHARS_MAX} are allowed")
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        value = loader.construct_document(node) if node is not None else None
    except yaml.YAMLError as error:
        raise ScriptError(_yaml_problem(error)) from error
    finally:
        loader.dispose()
    if not isinstance(value, list):
        raise ScriptError("a script is a YAML list of steps, each starting with `- `, such as `- {text: Done.}`")
    return steps_from(value, [f"line {item.start_mark.line + 1}" for item in node.value])


def steps_from(values: list[Any], places: list[str]) -> tuple[Step, ...]:
    """The steps of a parsed list; `places` says for each item where it stands, for errors."""
    if not values:
        raise ScriptError("a script has at least one step")
    steps: list[Step] = []
    for value, place in zip(values, places, strict=True):
        step, repeat = step_from(value, place)
        if len(steps) + repeat > STEPS_MAX:
            raise ScriptError(f"{place}: the script has more than {STEPS_MAX} steps, repetitions included")
        steps.extend(replace(step, i=i) for i in range(1, repeat + 1))
    return tuple(steps)


def _yaml_problem(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "the script"
    problem = getattr(error, "problem", None) or "it cannot be read"
    return f"{place}: not valid YAML: {problem}; quote texts that hold any of {{ }} [ ] : # ,"
