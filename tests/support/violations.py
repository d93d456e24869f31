"""For each structural promise of a schema, an object that breaks it, and the words in which it is refused."""

import re
from copy import deepcopy
from typing import Any

from support.crd_schema import Constraint, Json, Path

Location = tuple[str | int, ...]
"""Steps through an object: keys and indexes."""

FRAGMENTS = {
    "enum": "Unsupported value",
    "maxLength": "Too long",
    "minLength": "should be at least",
    "pattern": "should match",
    "maximum": "should be less than or equal to",
    "minimum": "should be greater than or equal to",
    "maxItems": "must have at most",
    "minItems": "should have at least",
    "maxProperties": "must have at most",
    "required": "Required value",
    "type": "must be of type",
    "unique": "Duplicate value",
    "format": "must be of type date-time",
}
"""Structural keywords to words of the kube-apiserver's refusal."""


def locate(value: Any, path: Path, done: Location = ()) -> Location | None:
    """Find where an object has the schema path; the first place, or None."""
    if not path:
        return done
    step, rest = path[0], path[1:]
    entries: list[tuple[str | int, Any]] = []
    if isinstance(value, list) and step == "[]":
        entries += enumerate(value)
    elif isinstance(value, dict):
        entries += [(key, child) for key, child in value.items() if step in ("{}", key)]
    return next((found for key, child in entries if (found := locate(child, rest, (*done, key))) is not None), None)


def violate(base: Json, location: Location, constraint: Constraint) -> tuple[Json, Location]:
    """Break one promise of a valid object. Returns the object and the place the kube-apiserver shall name."""
    changed = deepcopy(base)
    parent: Any = changed
    for step in location[:-1]:
        parent = parent[step]
    current = parent[location[-1]]
    if constraint.keyword == "required":
        del current[constraint.value]
        return changed, (*location, constraint.value)
    if constraint.keyword == "unique":
        current.append(deepcopy(current[0]))
        return changed, (*location, len(current) - 1)
    parent[location[-1]] = _broken(constraint, current)
    return changed, location


def _broken(constraint: Constraint, current: Any) -> Any:
    limit = constraint.value
    match constraint.keyword:
        case "maxLength":
            return "a" * (limit + 1)
        case "minLength":
            return "a" * (limit - 1)
        case "pattern":
            return next(text for text in (" " * 8, "a b", "-") if not re.search(limit, text))
        case "maximum":
            return limit + 1
        case "minimum":
            return limit - 1
        case "maxItems":
            return [deepcopy(current[0]) if current else {} for _ in range(limit + 1)]
        case "minItems":
            return current[: limit - 1]
        case "maxProperties":
            value = next(iter(current.values()))
            return {f"key-{index}": deepcopy(value) for index in range(limit + 1)}
        case _:  # enum, format, type
            return 7 if limit == "string" else "not-allowed"


def render(location: Location) -> str:
    """Write a location as the kube-apiserver does."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in location).removeprefix(".")
