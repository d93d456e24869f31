"""What the `input_schema` of a custom tool may hold (API reference §4.2). Pure."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

PROPERTIES_MAX = 128
"""Ours: admission looks at each one."""

DEPTH_MAX = 64

_REFERENCES = frozenset({"$ref", "$dynamicRef", "$recursiveRef"})
_COMBINED = ("oneOf", "anyOf", "allOf")
_PROPERTY = re.compile(r"^[A-Za-z0-9_.-]{1,64}$")
_DATA = frozenset({"const", "default", "enum", "example", "examples"})
"""Keywords whose values are data and no schema."""


def check_input_schema(schema: Mapping[str, Any]) -> None:
    """Refuse a schema that a model provider would refuse. Raises: ValueError naming the keyword."""
    if schema.get("type") != "object":
        raise ValueError(f'type must be "object", found {schema.get("type")!r}')
    for keyword in _COMBINED:
        if keyword in schema:
            raise ValueError(f"{keyword} is not supported at the top level; write one object schema")
    _check_properties(schema.get("properties"))
    _check_required(schema.get("required"))
    for path in _references(schema):
        raise ValueError(f"{path} is not supported; write the schema out")


def _check_properties(properties: Any) -> None:
    if properties is None:
        return
    if not isinstance(properties, Mapping) or len(properties) > PROPERTIES_MAX:
        raise ValueError(f"properties must be a map of at most {PROPERTIES_MAX} schemas")
    for name, value in properties.items():
        if not _PROPERTY.match(name):
            raise ValueError(f"properties: a name must be 1 to 64 of A-Z a-z 0-9 _ . -; found {name[:80]!r}")
        if not isinstance(value, Mapping):
            raise ValueError(f"properties.{name} must be a schema")


def _check_required(required: Any) -> None:
    if required is None:
        return
    names = required if isinstance(required, list) else [None]
    if not all(isinstance(name, str) for name in names) or len(names) > PROPERTIES_MAX or len(set(names)) < len(names):
        raise ValueError(f"required must be a list of at most {PROPERTIES_MAX} different names")


def _references(schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield the path of each reference in a schema, and refuse one that is too deep to walk."""
    waiting: list[tuple[str, Any, int]] = [("", schema, 0)]
    while waiting:
        path, value, depth = waiting.pop()
        if depth > DEPTH_MAX:
            raise ValueError(f"must not be deeper than {DEPTH_MAX} levels")
        if isinstance(value, list):
            waiting += [(f"{path}.{index}", item, depth + 1) for index, item in enumerate(value)]
        if not isinstance(value, Mapping):
            continue
        for key, item in value.items():
            inner = f"{path}.{key}".lstrip(".")
            if key in _REFERENCES:
                yield inner
            if key not in _DATA:
                waiting.append((inner, item, depth + 1))
