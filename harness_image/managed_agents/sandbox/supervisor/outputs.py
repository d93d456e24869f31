"""Files that the tools leave: listed and read without ever following where a name leads.

User code may change the folder at any moment, so every step goes through an open directory, refuses links and is
bounded.
"""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from managed_agents.sandbox.supervisor.errors import not_found
from managed_agents.sandbox.supervisor.file_paths import is_path
from managed_agents.sandbox.supervisor.file_thread import FileThread
from managed_agents.sandbox.supervisor.http import Content

ENTRIES_MAX = 20_000  # looked at in one listing
FILES_MAX = 1_000  # named in one listing
DEPTH_MAX = 32
READ_BYTES = 256 * 1024
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # opening a FIFO must not wait


@dataclass(slots=True)
class _Found:
    files: list[dict[str, Any]] = field(default_factory=list)
    looked: int = 0
    skipped: int = 0
    truncated: bool = False


class Outputs:
    """The folder that the tools write and we read."""

    def __init__(self, folder: Path, thread: FileThread) -> None:
        self._folder = folder
        self._thread = thread

    async def listing(self) -> dict[str, Any]:
        """Return path, size and version of each regular file; a version changes whenever the file does."""
        found = await self._thread.run(self._list)
        return {"files": found.files, "skipped": found.skipped, "truncated": found.truncated}

    async def open(self, path: str) -> OpenOutput:
        """Open a file. Raises 404 where it is none, or none of ours to read."""
        try:
            file, size = await self._thread.run(lambda: self._open(path))
        except OSError as error:
            raise not_found(f"no output at {path}: {(error.strerror or str(error)).lower()}") from error
        return OpenOutput(file, size, self._thread)

    def _list(self) -> _Found:
        found = _Found()
        with suppress(FileNotFoundError):
            root = os.open(self._folder, _DIRECTORY)
            try:
                _look_into(root, "", 0, found)
            finally:
                os.close(root)
        found.files.sort(key=lambda file: str(file["path"]))
        return found

    def _open(self, path: str) -> tuple[int, int]:
        *folders, name = path.split("/")
        directory = os.open(self._folder, _DIRECTORY)
        try:
            for folder in folders:
                inner = os.open(folder, _DIRECTORY, dir_fd=directory)
                os.close(directory)
                directory = inner
            file = os.open(name, _FILE, dir_fd=directory)
        finally:
            os.close(directory)
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            os.close(file)
            raise OSError("not a regular file")
        return file, status.st_size


class OpenOutput:
    """An open file of that size, as it was when it was opened."""

    def __init__(self, file: int, size: int, thread: FileThread) -> None:
        self._file = file
        self.size = size
        self._thread = thread

    async def _chunks(self) -> AsyncIterator[bytes]:
        """Yield its bytes. Raises `OSError` where it has become shorter: that must not look whole."""
        offset = 0
        while offset < self.size:
            chunk = await self._thread.run(partial(os.pread, self._file, min(READ_BYTES, self.size - offset), offset))
            if not chunk:
                raise OSError("the file has become shorter")
            offset += len(chunk)
            yield chunk

    def content(self) -> Content:
        """Return what to answer with."""
        return Content(size=self.size, chunks=self._chunks(), close=lambda: os.close(self._file))


def _look_into(directory: int, prefix: str, depth: int, found: _Found) -> None:
    with os.scandir(directory) as entries:
        for entry in entries:
            found.looked += 1
            if found.looked > ENTRIES_MAX or len(found.files) >= FILES_MAX:
                found.truncated = True
                return
            try:
                _look_at(entry, directory, prefix, depth, found)
            except OSError:  # gone meanwhile, or not for us to read
                found.skipped += 1


def _look_at(entry: os.DirEntry[str], directory: int, prefix: str, depth: int, found: _Found) -> None:
    path = prefix + entry.name
    status = entry.stat(follow_symlinks=False)
    if stat.S_ISREG(status.st_mode) and is_path(path):
        version = f"{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}-{status.st_ctime_ns:x}"
        found.files.append({"path": path, "size": status.st_size, "version": version})
    elif stat.S_ISDIR(status.st_mode) and depth < DEPTH_MAX:
        inner = os.open(entry.name, _DIRECTORY, dir_fd=directory)
        try:
            _look_into(inner, path + "/", depth + 1, found)
        finally:
            os.close(inner)
    else:
        found.skipped += 1
