"""`read`, `write` and `edit`. Each takes checked arguments and returns text or content blocks."""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any, Union

from managed_agents.sandbox.runner.limits import FILE_BYTES_MAX, IMAGE_BASE64_BYTES_MAX, PDF_BYTES_MAX, READ_CHUNK_BYTES
from managed_agents.sandbox.runner.tools.errors import ToolError, fs_error
from managed_agents.sandbox.runner.tools.paths import Roots

Block = dict[str, Any]
Output = Union[str, list[Block]]  # noqa: UP007 - evaluated at run time, on Python 3.9 too

MEDIA_TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".pdf": "application/pdf",
}


def _resolved(roots: Roots, tool: str, file_path: str) -> Path:
    try:
        return roots.resolve(file_path)
    except ValueError as error:
        raise ToolError(f"{tool}: {error}") from error


def read(roots: Roots, *, file_path: str, view_range: list[int] | None) -> Output:
    """Return a file's text, a range of its lines (from 1, inclusive), or an image or document block."""
    target = _resolved(roots, "read", file_path)
    if view_range and len(view_range) != 2:
        raise ToolError("read: view_range must be [start_line, end_line]")
    try:
        return _read(target, file_path, view_range)
    except UnicodeDecodeError as error:
        raise ToolError(
            f"read: {file_path}: not valid UTF-8 text (binary files are only supported for image/PDF extensions)"
        ) from error
    except OSError as error:
        raise fs_error("read", file_path, error) from error


def _read(target: Path, file_path: str, view_range: list[int] | None) -> Output:
    size = _regular_size(target, "read", file_path)
    media_type = MEDIA_TYPES.get(target.suffix.lower())
    if media_type is not None:
        if view_range:
            raise ToolError("read: view_range is not supported for image/PDF files")
        return [_media_block(target, file_path, size, media_type)]
    if size > FILE_BYTES_MAX:
        if not view_range:
            raise ToolError(
                f"read: {file_path} is {size} bytes, exceeds {FILE_BYTES_MAX}-byte limit. "
                "Use the view_range parameter to read specific line ranges, e.g. view_range: [1, 500]."
            )
        return LineRange(file_path, view_range[0], view_range[1]).read(target)
    text = target.read_bytes().decode("utf-8")
    if not view_range:
        return text
    start, end = view_range
    lines = text.split("\n")
    return "\n".join(lines[max(0, start - 1) : end if end > 0 else len(lines)])


def _regular_size(target: Path, tool: str, file_path: str) -> int:
    """Return the size of a regular file; refuses all others before opening them, for opening a FIFO blocks."""
    status = target.stat()
    if not S_ISREG(status.st_mode):
        raise ToolError(f"{tool}: {file_path}: not a regular file")
    return status.st_size


def _media_block(target: Path, file_path: str, size: int, media_type: str) -> Block:
    is_pdf = media_type == "application/pdf"
    limit = PDF_BYTES_MAX if is_pdf else (IMAGE_BASE64_BYTES_MAX // 4) * 3
    if size > limit:
        raise ToolError(f"read: {file_path} is {size} bytes, exceeds {limit}-byte limit for image/PDF files.")
    data = base64.standard_b64encode(target.read_bytes()).decode("ascii")
    kind = "document" if is_pdf else "image"
    return {"type": kind, "source": {"type": "base64", "media_type": media_type, "data": data}}


class LineRange:
    """Collects lines `[start, end]` of a file too large to load, and at most `FILE_BYTES_MAX` bytes of them."""

    def __init__(self, file_path: str, start_line: int, end_line: int) -> None:
        self._file_path = file_path
        self._wanted = (start_line, end_line)
        self._start = max(0, start_line - 1)
        self._end = end_line if end_line > 0 else sys.maxsize
        self._line = 0
        self._collected = bytearray()

    def read(self, target: Path) -> str:
        """Return the lines' text. Raises `ToolError` above the limit."""
        if self._end <= self._start:
            return ""
        with target.open("rb") as stream:
            while self._line < self._end:
                chunk = stream.read(READ_CHUNK_BYTES)
                if not chunk:
                    break
                self._collect_from(chunk)
        return self._collected.decode("utf-8")

    def _collect_from(self, chunk: bytes) -> None:
        begin = 0
        while begin < len(chunk) and self._line < self._end:
            newline = chunk.find(b"\n", begin)
            stop = len(chunk) if newline < 0 else newline
            if self._line >= self._start:
                self._collect(chunk[begin:stop], ended=newline >= 0)
            if newline < 0:
                return
            self._line += 1
            begin = newline + 1

    def _collect(self, piece: bytes, *, ended: bool) -> None:
        self._collected += piece
        if ended and self._line + 1 < self._end:
            self._collected += b"\n"
        if len(self._collected) <= FILE_BYTES_MAX:
            return
        if self._end - self._start == 1:
            raise ToolError(
                f"read: line {self._start + 1} of {self._file_path} alone exceeds {FILE_BYTES_MAX}-byte limit. "
                "The read tool cannot return part of a line, so view_range cannot narrow this further."
            )
        start_line, end_line = self._wanted
        raise ToolError(
            f"read: view_range [{start_line}, {end_line}] of {self._file_path} exceeds {FILE_BYTES_MAX}-byte limit. "
            "Narrow the view_range to read a smaller portion."
        )


def _encoded(tool: str, parameter: str, text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ToolError(f"{tool}: {parameter} is not valid Unicode: an unpaired surrogate at {error.start}") from error


def write(roots: Roots, *, file_path: str, content: str) -> str:
    """Write a whole file, with the directories above it. The answer counts characters, as the SDK's does."""
    target = _resolved(roots, "write", file_path)
    roots.refuse_read_only(target, tool="write", file_path=file_path)
    data = _encoded("write", "content", content)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and not (S_ISREG(target.stat().st_mode) or S_ISDIR(target.stat().st_mode)):
            raise ToolError(f"write: {file_path}: not a regular file")
        target.write_bytes(data)
    except OSError as error:
        raise fs_error("write", file_path, error) from error
    return f"wrote {len(content)} bytes to {file_path}"


def edit(
    roots: Roots,
    *,
    file_path: str,
    old_string: str,
    new_string: str,
    replace_all: bool | None,
) -> str:
    """Replace text by exact match: one occurrence, which must be the only one, or all of them."""
    target = _resolved(roots, "edit", file_path)
    roots.refuse_read_only(target, tool="edit", file_path=file_path)
    try:
        text = _editable_text(target, file_path)
    except OSError as error:
        raise fs_error("edit", file_path, error) from error
    count = text.count(old_string)
    if count == 0:
        raise ToolError(f"edit: old_string not found in {file_path}")
    if not replace_all and count > 1:
        raise ToolError(f"edit: old_string appears {count} times in {file_path} (must be unique)")
    # Encoded before the file is touched: opening it for writing empties it.
    updated = _encoded("edit", "new_string", text.replace(old_string, new_string, -1 if replace_all else 1))
    try:
        target.write_bytes(updated)
    except OSError as error:
        raise fs_error("edit", file_path, error) from error
    return f"edited {file_path} ({count if replace_all else 1} replacement(s))"


def _editable_text(target: Path, file_path: str) -> str:
    size = _regular_size(target, "edit", file_path)
    if size > FILE_BYTES_MAX:
        raise ToolError(
            f"edit: {file_path} is {size} bytes, exceeds {FILE_BYTES_MAX}-byte limit. "
            "The edit tool loads the whole file and cannot modify a file this large."
        )
    try:
        return target.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ToolError(f"edit: {file_path}: not valid UTF-8 text (cannot edit binary files)") from error
