"""How many workers in a row died reading their session's log, most likely for want of memory (guarantee F10).

The kernel ends a container that exceeds its memory whole, PID 1 included. So the count lies in a file of the Pod's own,
which outlives its containers. It is mapped into memory: whoever is killed has said what it did without a system call,
and all that are forked from one process see one count, also where there is no file to be had.
"""

import mmap
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import orjson
import structlog

_log = structlog.get_logger()

READINGS_MAX = 3
"""Workers that die reading a log, before the next one gives up on the turn."""

_BYTES = mmap.PAGESIZE


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    """`lost` readings of this session's log have begun and not ended."""

    session: str = ""
    lost: int = 0

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Read a record; of what is none, as after a death within its writing, nothing is known."""
        try:
            value = orjson.loads(raw.rstrip(b"\0") or b"{}")
            return cls(session=str(value.get("session", "")), lost=int(value.get("lost", 0)))
        except (orjson.JSONDecodeError, AttributeError, TypeError, ValueError):
            return cls()

    def encoded(self) -> bytes:
        """Return the record as it is kept."""
        return orjson.dumps({"session": self.session, "lost": self.lost}).ljust(_BYTES, b"\0")


class Readings:
    """The count. A reading that has ended is the log's progress, and clears it; what a client adds meanwhile does not.

    `file` is made where it is missing. Without one the count lasts as long as the process that made it.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._memory = _mapped(file)
        self._before = _Record()

    def begin(self, session: str) -> bool:
        """Count a reading, for whoever dies now dies of it. True: too many did, so give up instead."""
        known = _Record.parse(self._memory[:])
        self._before = known if known.session == session else _Record(session=session)
        gives_up = self._before.lost >= READINGS_MAX
        if not gives_up:
            self._write(_Record(session=session, lost=self._before.lost + 1))
        return gives_up

    def end(self) -> None:
        """Say that the log was read."""
        self._write(_Record())

    def survived(self) -> None:
        """Say that the reading was cut off, and that its worker lives."""
        self._write(self._before)

    def _write(self, record: _Record) -> None:
        self._memory[:] = record.encoded()


def _mapped(file: Path | None) -> mmap.mmap:
    if file is not None:
        try:
            return _of_file(file)
        except OSError as error:
            _log.warning("readings_not_kept", file=str(file), reason=error.strerror or str(error))
    return mmap.mmap(-1, _BYTES)


def _of_file(file: Path) -> mmap.mmap:
    opened = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        # Room that is there already: a write into memory without it would be a signal instead of an error.
        os.posix_fallocate(opened, 0, _BYTES)
        return mmap.mmap(opened, _BYTES)
    finally:
        os.close(opened)
