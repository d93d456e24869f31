"""JSON merge patches (RFC 7386) from what is to what shall be. Pure."""

from collections.abc import Mapping
from typing import Any


def merge_patch(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return the patch that turns one map into the other, empty where they are equal; `after` holds no null."""
    patch: dict[str, Any] = {key: None for key in before if key not in after}
    for key, value in after.items():
        known = before.get(key)
        if isinstance(value, Mapping) and isinstance(known, Mapping):
            if inner := merge_patch(known, value):
                patch[key] = inner
        elif key not in before or value != known or isinstance(value, bool) != isinstance(known, bool):
            patch[key] = value
    return patch


def patched_metadata(stored: Mapping[str, str], patch: Mapping[str, str | None] | None) -> dict[str, str]:
    """Apply the API's patch of a `metadata` bag: a text sets a key, null removes it, keys left out stay."""
    merged = {**stored, **(patch or {})}
    return {key: value for key, value in merged.items() if value is not None}
