"""The bytes of files: one file of the volume each, written beside and moved into place once they are whole.

A name is made before the index knows it and forgotten by the index before the file goes, so a crash leaves files that
nobody names and never a name without its file; `sweep` removes those at the next start.
"""

import errno
import hashlib
import os
import secrets
import shutil
from pathlib import Path
from typing import BinaryIO

from managed_agents.filestore.errors import FileVolumeFullError

RESERVE_BYTES_MAX = 256 * 1024**2
RESERVE_PARTS = 10
"""Files leave a tenth of the volume free, at most 256 MiB: the event log on it must never wait for room."""

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


class Contents:
    """The folders of a volume. Blocking; safe for several threads."""

    def __init__(self, folder: Path) -> None:
        self._kept = folder / "contents"
        self._incoming = folder / "incoming"
        for made in (self._kept, self._incoming):
            made.mkdir(parents=True, exist_ok=True)

    def sweep(self, known: frozenset[str]) -> int:
        """Remove half uploads, and contents that are not known; return how many."""
        stray = [path for path in self._kept.glob("*/*") if path.name not in known]
        stray += list(self._incoming.iterdir())
        for path in stray:
            path.unlink(missing_ok=True)
        return len(stray)

    def begin(self) -> "Partial":
        """Begin a content, which touches no disk yet."""
        return Partial(self._incoming / secrets.token_hex(16))

    def check_room(self, wanted_bytes: int) -> None:
        """Refuse what would leave the volume without its reserve. Raises: FileVolumeFullError."""
        check_room(self._kept, wanted_bytes)

    def keep(self, partial: "Partial") -> None:
        """Make a whole content durable under its name. Raises: FileVolumeFullError."""
        target = self.path(partial.name)
        try:
            partial.finish()
            target.parent.mkdir(exist_ok=True)
            partial.path.rename(target)
            for folder in (target.parent, self._kept):
                _sync(folder)
        except OSError as error:
            raise _named(error) from error

    def open(self, name: str) -> BinaryIO:
        """Open a content to read; it can be read to its end also when it is removed meanwhile."""
        return self.path(name).open("rb", buffering=0)

    def remove(self, name: str) -> None:
        """Remove a content; also when it is gone."""
        self.path(name).unlink(missing_ok=True)

    def path(self, name: str) -> Path:
        """Return where a content lies; the folders keep directories small."""
        return self._kept / name[:2] / name


class Partial:
    """A content on its way in."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size_bytes = 0
        self._file: BinaryIO | None = None
        self._digest = hashlib.sha256()

    @property
    def name(self) -> str:
        """Return the name that the content will have."""
        return self.path.name

    @property
    def sha256(self) -> str:
        """Return the hash of what was written, in hex."""
        return self._digest.hexdigest()

    def write(self, data: bytes) -> None:
        """Add bytes. Raises: FileVolumeFullError."""
        view = memoryview(data)
        try:
            file = self._opened()
            while view:
                view = view[file.write(view) :]
        except OSError as error:
            raise _named(error) from error
        self._digest.update(data)
        self.size_bytes += len(data)

    def finish(self) -> None:
        """Make it durable. Raises: OSError."""
        file = self._opened()
        os.fsync(file.fileno())
        file.close()

    def discard(self) -> None:
        """Remove it, unless it was kept."""
        if self._file is not None:
            self._file.close()
        self.path.unlink(missing_ok=True)

    def _opened(self) -> BinaryIO:
        self._file = self._file or self.path.open("xb", buffering=0)
        return self._file


def check_room(folder: Path, wanted_bytes: int) -> None:
    """Refuse what would leave a folder's volume without its reserve. Blocking. Raises: FileVolumeFullError."""
    usage = shutil.disk_usage(folder)
    reserve = min(RESERVE_BYTES_MAX, usage.total // RESERVE_PARTS)
    if usage.free - wanted_bytes < reserve:
        raise FileVolumeFullError("the volume of the file store is full; enlarge it or delete files")


def _named(error: OSError) -> Exception:
    if error.errno in _NO_ROOM:
        return FileVolumeFullError("the volume of the file store is full; enlarge it or delete files")
    return error


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
