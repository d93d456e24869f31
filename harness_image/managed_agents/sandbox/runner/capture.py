"""Collects a shell's output up to a marker line, in bounded memory."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from managed_agents.sandbox.runner.limits import (
    BASH_OUTPUT_BYTES_MAX,
    PREVIEW_HEAD_CHARS,
    PREVIEW_TAIL_CHARS,
    RESULT_CHARS_MAX,
)
from managed_agents.sandbox.runner.spill import SpillFile, preview

_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_HEAD_BYTES = 4 * PREVIEW_HEAD_CHARS


@dataclass(frozen=True)
class Captured:
    """A command's output as the model shall see it, and its exit code: `None` when the shell ended before it."""

    text: str
    exit_code: int | None


class Capture:
    """Takes output in chunks. Until `expect` names a marker it is what background jobs print between two calls."""

    def __init__(self) -> None:
        self._tail = bytearray()
        self._head = b""
        self._total = 0
        self._marker: re.Pattern[bytes] | None = None
        self._open_spill: Callable[[], SpillFile] | None = None
        self._spill: SpillFile | None = None
        self._found: re.Match[bytes] | None = None

    def expect(self, marker: bytes, open_spill: Callable[[], SpillFile]) -> None:
        """Begin a call: its output ends with a line of the marker and the exit code."""
        self._marker = re.compile(rb"\n" + re.escape(marker) + rb"(\d+)\n")
        self._open_spill = open_spill
        if self._total > BASH_OUTPUT_BYTES_MAX:
            self._start_spill()

    def feed(self, chunk: bytes) -> bool:
        """Add output; true when the marker line is complete."""
        self._total += len(chunk)
        if len(self._head) < _HEAD_BYTES:
            self._head += chunk[: _HEAD_BYTES - len(self._head)]
        if self._spill is None and self._total > BASH_OUTPUT_BYTES_MAX:
            self._start_spill()
        if self._spill is not None:
            self._spill.write(chunk)
        # The marker may begin in the chunk before: 128 bytes hold it whole.
        begin = max(0, len(self._tail) - 128)
        self._tail += chunk
        if self._marker is not None:
            self._found = self._marker.search(self._tail, begin)
        if self._found is None and len(self._tail) > BASH_OUTPUT_BYTES_MAX:
            del self._tail[: len(self._tail) - BASH_OUTPUT_BYTES_MAX]
        return self._found is not None

    def _start_spill(self) -> None:
        if self._open_spill is not None:
            self._spill = self._open_spill()
            self._spill.write(bytes(self._tail))

    def finish(self) -> tuple[Captured, bytes]:
        """End a call; also returns what came after the marker, which belongs to the next one."""
        if self._found is None:
            body, rest, code = bytes(self._tail), b"", None
        else:
            body = bytes(self._tail[: self._found.start()])
            rest = bytes(self._tail[self._found.end() :])
            code = int(self._found.group(1))
        total = self._total - (len(self._tail) - len(body))
        text = _clean(body)
        text = text.strip() if code is None else text.rstrip("\n")
        if total > BASH_OUTPUT_BYTES_MAX or len(text) > RESULT_CHARS_MAX:
            text = self._shorten(text, total)
        return Captured(text, code), rest

    def _shorten(self, text: str, total: int) -> str:
        if self._spill is None:
            self._start_spill()
        path = None
        if self._spill is not None:
            self._spill.close(total)
            path = self._spill.path
        head = _clean(self._head)[:PREVIEW_HEAD_CHARS]
        return preview(head, text[-PREVIEW_TAIL_CHARS:], f"{total} bytes", None if path is None else str(path))


def _clean(data: bytes) -> str:
    return _ANSI.sub("", data.decode("utf-8", "replace"))
