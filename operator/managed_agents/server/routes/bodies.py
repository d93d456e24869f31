"""Request bodies and parameters, with clear messages for what is wrong with them."""

import math
from typing import Any

import orjson
from aiohttp import web

from managed_agents.contracts.errors import RejectedError


async def json_object(request: web.Request) -> dict[str, Any]:
    """Return the body as a JSON object, whatever type its header names but a form's. Raises: RejectedError."""
    if request.content_type in _FORMS:
        raise RejectedError(f"content-type: {request.content_type} is no JSON; send application/json")
    raw = await request.read()
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise RejectedError(f"the body is no JSON: {error.msg} at byte {error.pos}") from None
    return storable(body, raw)


def storable(body: Any, raw: bytes) -> dict[str, Any]:
    """Return a body, parsed of `raw` or of a part of it, when it is an object that can be stored.

    Raises: RejectedError.
    """
    if not isinstance(body, dict):
        raise RejectedError("the body must be a JSON object")
    if raw.count(b"[") + raw.count(b"{") > DEPTH_MAX:  # fewer brackets cannot be deeper
        _require_shallow(body)
    return body


_FORMS = frozenset({"multipart/form-data", "application/x-www-form-urlencoded"})

DEPTH_MAX = 200
"""Levels of a body: fewer than orjson writes (254), so that what was read can be written within something else."""

_LEVELS_WRITTEN = 254


def _require_shallow(body: dict[str, Any]) -> None:
    wrapped: Any = body
    for _ in range(_LEVELS_WRITTEN - DEPTH_MAX):
        wrapped = [wrapped]
    try:
        orjson.dumps(wrapped)
    except orjson.JSONEncodeError:
        raise RejectedError(f"the body is nested more than {DEPTH_MAX} levels deep") from None


def text(body: dict[str, Any], name: str) -> str:
    """Return a required, non-empty text. Raises: RejectedError."""
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise RejectedError(f"{name}: must be a non-empty text, found {value!r}", field=name)
    return value


def optional_text(body: dict[str, Any], name: str) -> str | None:
    """Return a text or null. Raises: RejectedError."""
    return None if body.get(name) is None else text(body, name)


def number(body: dict[str, Any], name: str) -> int:
    """Return a required whole number, 0 or more. Raises: RejectedError."""
    value = body.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise RejectedError(f"{name}: must be a whole number, at least 0; found {value!r}", field=name)
    return value


def optional_number(body: dict[str, Any], name: str) -> int | None:
    """Return a whole number or null. Raises: RejectedError."""
    return None if body.get(name) is None else number(body, name)


def objects(body: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Return a list of objects, empty when absent. Raises: RejectedError."""
    value = body.get(name) or []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise RejectedError(f"{name}: must be a list of objects", field=name)
    return value


def seconds(value: Any, name: str, most: float) -> float:
    """Return a wait in seconds, cut at a bound. Raises: RejectedError."""
    try:
        wait = float(value)
    except (TypeError, ValueError):
        wait = math.nan
    if not wait >= 0:
        raise RejectedError(f"{name}: must be a number of seconds, at least 0; found {value!r}", field=name)
    return min(wait, most)
