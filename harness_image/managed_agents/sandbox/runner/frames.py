"""Frames on the socket between supervisor and runner: four bytes of big-endian length, then a JSON object.

To the runner: `environment {variables, authority}` first and where it changes, `execute {tool_use_id, name, input}`,
`cancel {tool_use_id}`, `ack {tool_use_id}`. From the runner:
`hello {boot_id, running}` first, then `result {tool_use_id, content, is_error, outcome}`, repeated after each
reconnection until it is acknowledged.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from managed_agents.sandbox.runner.limits import FRAME_BYTES_MAX

Frame = dict[str, Any]


class FrameError(Exception):
    """The peer broke the protocol; the connection cannot be used any more."""


def encode(frame: Frame) -> bytes:
    """Return the bytes of one frame. Escapes to ASCII, so an unpaired surrogate survives the way."""
    payload = json.dumps(frame, separators=(",", ":")).encode("ascii")
    return len(payload).to_bytes(4, "big") + payload


async def read_frame(reader: asyncio.StreamReader, bytes_max: int = FRAME_BYTES_MAX) -> Frame:
    """Read one frame. Raises `FrameError` on a malformed one, `asyncio.IncompleteReadError` at the end."""
    size = int.from_bytes(await reader.readexactly(4), "big")
    if size > bytes_max:
        raise FrameError(f"a frame of {size} bytes exceeds {bytes_max}")
    payload = await reader.readexactly(size)
    try:
        frame = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise FrameError("a frame is not JSON") from error
    if not isinstance(frame, dict) or not isinstance(frame.get("op"), str):
        raise FrameError("a frame is not an object with an op")
    return frame
