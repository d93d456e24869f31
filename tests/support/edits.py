"""Small edits of an object, as fixtures write them: `{"spec.tools[2].name": value}`, null to remove."""

import re
from copy import deepcopy
from typing import Any

Json = dict[str, Any]
_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


def edited(base: Json, edits: Json) -> Json:
    """Return a copy with the edits applied in order; an index one past the end appends."""
    changed = deepcopy(base)
    for path, value in edits.items():
        _edit(changed, path, _expanded(value))
    return changed


def _edit(root: Any, path: str, value: Any) -> None:
    *steps, last = [name or int(index) for name, index in _STEP.findall(path)]
    for step in steps:
        root = root[step]
    if value is None:
        del root[last]
    elif isinstance(root, list) and last == len(root):
        root.append(value)
    else:
        root[last] = value


def _expanded(value: Any) -> Any:
    """Write out `{repeat: X, times: N}` and `{each: {key: "name-{}"}, times: N}`: texts and lists at their bound."""
    if isinstance(value, list):
        return [_expanded(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"repeat", "times"}:
        return value["repeat"] * value["times"]
    if value.keys() == {"each", "times"}:
        return [{key: text.format(n) for key, text in value["each"].items()} for n in range(value["times"])]
    return {key: _expanded(item) for key, item in value.items()}
