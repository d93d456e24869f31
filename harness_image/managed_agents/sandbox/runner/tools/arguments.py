"""Checks a call's input against its tool's parameters, as leniently as the SDK's (pydantic's lax mode) does."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from managed_agents.sandbox.runner.tools.errors import ToolError

_INTEGER = re.compile(r"\s*[+-]?[0-9]+(\.0+)?\s*\Z")
_TRUE = {"1", "on", "t", "true", "y", "yes"}
_FALSE = {"0", "off", "f", "false", "n", "no"}


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("expected a string")
    return value


def _boolean(value: Any) -> bool:
    if isinstance(value, str):
        if value.lower() in _TRUE:
            return True
        if value.lower() in _FALSE:
            return False
    elif isinstance(value, (bool, int, float)) and value in (0, 1):
        return bool(value)
    raise ValueError("expected true or false")


def _integer(value: Any) -> int:
    if isinstance(value, (bool, int)):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and _INTEGER.match(value):
        return int(value.strip().split(".")[0])
    raise ValueError("expected an integer")


def _integers(value: Any) -> list[int]:
    if not isinstance(value, list):
        raise ValueError("expected a list of integers")
    return [_integer(item) for item in value]


Parser = Callable[[Any], Any]
# Tool -> parameter -> (parser, required).
PARAMETERS: dict[str, dict[str, tuple[Parser, bool]]] = {
    "bash": {"command": (_string, False), "restart": (_boolean, False), "timeout_ms": (_integer, False)},
    "read": {"file_path": (_string, True), "view_range": (_integers, False)},
    "write": {"file_path": (_string, True), "content": (_string, True)},
    "edit": {
        "file_path": (_string, True),
        "old_string": (_string, True),
        "new_string": (_string, True),
        "replace_all": (_boolean, False),
    },
    "glob": {"pattern": (_string, True), "path": (_string, False)},
    "grep": {"pattern": (_string, True), "path": (_string, False)},
}


def parse_arguments(tool: str, arguments: Any) -> dict[str, Any]:
    """Return the tool's arguments, `None` for an absent optional one. Raises `ToolError` naming the parameter."""
    if not isinstance(arguments, dict):
        raise ToolError(f"{tool}: the input must be an object")
    parameters = PARAMETERS[tool]
    for name in arguments:
        if name not in parameters:
            allowed = ", ".join(parameters)
            raise ToolError(f"Invalid arguments for function {tool}: {name}: not a parameter; allowed: {allowed}")
    parsed: dict[str, Any] = {}
    for name, (parse, required) in parameters.items():
        value = arguments.get(name)
        if value is None and not required:
            parsed[name] = None
            continue
        if name not in arguments:
            raise ToolError(f"Invalid arguments for function {tool}: {name}: missing")
        try:
            parsed[name] = parse(value)
        except ValueError as error:
            raise ToolError(f"Invalid arguments for function {tool}: {name}: {error}") from error
    return parsed
