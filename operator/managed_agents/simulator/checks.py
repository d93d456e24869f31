"""The small checks a request body is made of; each raises the API's own words for what is wrong."""

import re
from collections.abc import Collection
from typing import Any, NoReturn

from managed_agents.simulator.errors import invalid_request


def fail(path: str, problem: str) -> NoReturn:
    """Refuse the request, naming the field."""
    raise invalid_request(f"{path}: {problem}")


def required(value: dict[str, Any], name: str, path: str) -> Any:
    """The field's value; the request is refused if there is none."""
    if name not in value:
        fail(f"{path}.{name}" if path else name, "Field required")
    return value[name]


def known_fields(value: dict[str, Any], names: Collection[str], path: str) -> None:
    """Refuse a field outside `names`."""
    for name in value:
        if name not in names:
            fail(f"{path}.{name}" if path else name, "Extra inputs are not permitted")


def need_object(value: Any, path: str) -> None:
    """Refuse anything but an object."""
    if not isinstance(value, dict):
        fail(path, "Input should be a valid dictionary")


def need_list(value: Any, path: str) -> None:
    """Refuse anything but an array."""
    if not isinstance(value, list):
        fail(path, "Input should be a valid list")


def need_string(value: Any, path: str, *, minimum: int = 0) -> None:
    """Refuse anything but a string of at least `minimum` characters."""
    if not isinstance(value, str):
        fail(path, "Input should be a valid string")
    if len(value) < minimum:
        fail(path, f"String should have at least {minimum} character{'s' if minimum > 1 else ''}")


def need_matching(value: Any, pattern: str, path: str) -> None:
    """Refuse a string that the pattern does not match from end to end."""
    need_string(value, path)
    if not re.fullmatch(pattern, value):
        fail(path, f"String should match pattern '{pattern}'")


def need_integer(value: Any, path: str, *, minimum: int) -> None:
    """Refuse anything but an integer of at least `minimum`."""
    if isinstance(value, bool) or not isinstance(value, int):
        fail(path, "Input should be a valid integer")
    if value < minimum:
        fail(path, f"Input should be greater than or equal to {minimum}")
