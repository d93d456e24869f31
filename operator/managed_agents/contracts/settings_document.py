"""An installation's setting that is one JSON document: read here, judged by whoever it belongs to."""

import json
from collections.abc import Collection
from typing import Any


def settings_document(text: str, keys: Collection[str]) -> dict[str, Any] | None:
    """Parse a document whose keys are among these; None for empty text.

    Raises: ValueError, TypeError, naming what is wrong and what is allowed.
    """
    if not text.strip():
        return None
    try:
        document = json.loads(text)
    except json.JSONDecodeError as problem:
        raise ValueError(f"not JSON: {problem}") from None
    if not isinstance(document, dict):
        raise TypeError("a JSON object is required")
    if unknown := sorted(set(document) - set(keys)):
        raise ValueError(f"unknown key {unknown[0]!r}; known are {', '.join(keys)}")
    return document
