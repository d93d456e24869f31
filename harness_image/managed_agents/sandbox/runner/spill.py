"""Output too long for a result: kept in a file of the sandbox, while the model gets a preview and the path."""

from __future__ import annotations

import os
from pathlib import Path

from managed_agents.sandbox.runner.limits import (
    PREVIEW_HEAD_CHARS,
    PREVIEW_TAIL_CHARS,
    RESULT_CHARS_MAX,
    SPILL_FILE_BYTES_MAX,
    SPILL_TOTAL_BYTES_MAX,
)


class SpillFile:
    """One output on its way to a file; stops writing at the bound, or at the first error of the file system."""

    def __init__(self, path: Path) -> None:
        self._written = 0
        self._fd = -1
        self.path: Path | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            self._fd = os.open(path, flags, 0o644)
        except OSError:
            return
        self.path = path

    def write(self, data: bytes) -> None:
        """Append, up to the bound."""
        piece = data[: SPILL_FILE_BYTES_MAX - self._written]
        while piece and self._fd >= 0:
            try:
                done = os.write(self._fd, piece)
            except OSError:
                self.close()
                return
            self._written += done
            piece = piece[done:]

    def close(self, bytes_kept: int | None = None) -> None:
        """Close the file, cut to its first `bytes_kept` bytes where that is given."""
        if self._fd < 0:
            return
        if bytes_kept is not None and bytes_kept < self._written:
            os.ftruncate(self._fd, bytes_kept)
        os.close(self._fd)
        self._fd = -1


class SpillFolder:
    """Where long outputs are kept, newest last; together at most `SPILL_TOTAL_BYTES_MAX` bytes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self, call_id: str) -> SpillFile:
        """Start the file of one call's output."""
        self._make_room()
        return SpillFile(self.folder / f"{call_id.replace(':', '_')}.txt")

    def _make_room(self) -> None:
        try:
            kept = sorted((f.stat().st_mtime, f.stat().st_size, f) for f in self.folder.iterdir())
        except OSError:
            return
        total = sum(size for _, size, _ in kept)
        for _, size, file in kept:
            if total + SPILL_FILE_BYTES_MAX <= SPILL_TOTAL_BYTES_MAX:
                return
            file.unlink(missing_ok=True)
            total -= size

    def shorten(self, text: str, call_id: str, where: str | None = None) -> str:
        """Return text that fits a result. Longer text goes to a file, unless `where` says it is in one already."""
        if len(text) <= RESULT_CHARS_MAX:
            return text
        if where is None:
            file = self.open(call_id)
            file.write(text.encode("utf-8", "replace"))
            file.close()
            where = None if file.path is None else str(file.path)
        return preview(text[:PREVIEW_HEAD_CHARS], text[-PREVIEW_TAIL_CHARS:], f"{len(text)} characters", where)


def preview(head: str, tail: str, size: str, where: str | None) -> str:
    """Return what the model sees of a long output. `where` is the path of the whole, or `None` if it is not kept."""
    whole = (
        f"the whole output is in {where}: read it with view_range, or grep it"
        if where
        else "the whole output could not be kept"
    )
    return (
        f"[output truncated]\n[{size} in all; {whole}. Its beginning and its end follow.]\n"
        f"{head}\n[... left out ...]\n{tail}"
    )
