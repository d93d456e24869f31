"""Camel case of the manifests to snake case of the API and back; free-form maps and JSON Schemas stay as they are."""

import re
from typing import Any

OPAQUE = frozenset({"metadata", "inputSchema", "input_schema", "input", "labels", "annotations"})
"""Keys whose values belong to the user: their own keys are never renamed."""

_UPPER = re.compile(r"(?<!^)([A-Z])")
_UNDERSCORE = re.compile(r"_([a-z0-9])")


def snake(name: str) -> str:
    """Turn `cacheWrite5m` into `cache_write5m`; names with digits come from a table."""
    return _SPECIAL_SNAKE.get(name, _UPPER.sub(r"_\1", name).lower())


def camel(name: str) -> str:
    """Turn `allowed_hosts` into `allowedHosts`."""
    return _SPECIAL_CAMEL.get(name, _UNDERSCORE.sub(lambda match: match.group(1).upper(), name))


_SPECIAL_SNAKE = {"cacheWrite5m": "cache_write_5m", "cacheWrite1h": "cache_write_1h"}
_SPECIAL_CAMEL = {api: manifest for manifest, api in _SPECIAL_SNAKE.items()}


def to_snake(value: Any) -> Any:
    """Rename the keys of a manifest's value for the API, through lists and maps, except below opaque keys."""
    if isinstance(value, dict):
        return {snake(key): item if key in OPAQUE else to_snake(item) for key, item in value.items()}
    if isinstance(value, list):
        return [to_snake(item) for item in value]
    return value


def to_camel(value: Any) -> Any:
    """Rename the keys of an API value for a manifest, through lists and maps, except below opaque keys."""
    if isinstance(value, dict):
        return {camel(key): item if key in OPAQUE else to_camel(item) for key, item in value.items()}
    if isinstance(value, list):
        return [to_camel(item) for item in value]
    return value
