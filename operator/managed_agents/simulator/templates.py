"""Templates of scripts: `{{name}}` in a text stands for something the conversation holds."""

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from managed_agents.simulator.conversation import Turn, last_tool_result, last_user_text, user_texts
from managed_agents.simulator.script import without_scripts

RESULT_CHARS_MAX: Final = 2000

_TEMPLATE: Final = re.compile(r"\{\{\s*(last_tool_result|last_user_text|turns|i)\s*\}\}")
"""Anything else in double braces stays as it is: it may be code that a step writes to a file."""


def filled(value: Any, turns: Sequence[Turn], i: int) -> Any:
    """The value with the templates in its strings filled in, in lists and mappings too."""
    if isinstance(value, str):
        return _TEMPLATE.sub(lambda match: _VALUES[match[1]](turns, i), value) if "{{" in value else value
    if isinstance(value, list):
        return [filled(item, turns, i) for item in value]
    if isinstance(value, dict):
        return {key: filled(item, turns, i) for key, item in value.items()}
    return value


_VALUES: Final[dict[str, Callable[[Sequence[Turn], int], str]]] = {
    "last_tool_result": lambda turns, _: last_tool_result(turns)[:RESULT_CHARS_MAX],
    "last_user_text": lambda turns, _: without_scripts(last_user_text(turns)),
    "turns": lambda turns, _: str(sum(1 for _ in user_texts(turns))),
    "i": lambda _, i: str(i),
}
