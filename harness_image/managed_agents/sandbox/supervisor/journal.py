"""What must outlive the supervisor: the binding, the epoch, the intent of each call and its result.

One file of JSON lines, each with a checksum; a record is on disk before anybody acts on it. Results stay in the file
and are read back on demand, so memory holds some hundred bytes a call. A torn last line, of a write that was cut
short, is dropped at the next start.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

FILE_BYTES_MAX = 256 * 1024 * 1024  # then old results are dropped, down to the next number
RESULT_BYTES_KEPT = 64 * 1024 * 1024  # a result is of use until it is in the event log, a moment later

Record = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What is known of a call without reading the file. `outcome` is `None` until it ended; `size` 0: not kept."""

    digest: str
    boot_id: str
    outcome: str | None = None
    offset: int = 0
    size: int = 0


class JournalError(Exception):
    """The file does not hold what the index says it does."""


class Journal:
    """The open file and its index. Blocking, and for one thread at a time."""

    def __init__(self, path: Path, fd: int) -> None:
        self._path = path
        self._fd = fd
        self._end = 0
        self.entries: dict[str, Entry] = {}
        self.bound: Record | None = None
        self.epoch = 0

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open or create the journal of a folder and read its index. Raises `OSError`."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "journal.jsonl"
        journal = cls(path, _open(path))
        journal._load()
        return journal

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def append(self, record: Record) -> None:
        """Make a record durable, or leave the file as it was and raise `OSError`."""
        line = _line(record)
        try:
            _write_all(self._fd, line, self._end)
            os.fdatasync(self._fd)
        except OSError:
            os.ftruncate(self._fd, self._end)
            raise
        self._index(record, self._end, len(line))
        self._end += len(line)
        if self._end > FILE_BYTES_MAX:
            self.compact()

    def result(self, call_id: str) -> Record | None:
        """Read back a call's result; `None` where it has none or is not kept. Raises `JournalError`, `OSError`."""
        entry = self.entries[call_id]
        if entry.size == 0:
            return None
        record = _parse(_read_all(self._fd, entry.size, entry.offset))
        if record is None or record.get("tool_use_id") != call_id:
            raise JournalError(f"the record of {call_id} is damaged")
        return record

    def compact(self, result_bytes_kept: int = RESULT_BYTES_KEPT) -> None:
        """Rewrite the file with the newest results only; of older calls stays that they ended, and how."""
        kept = self._newest(result_bytes_kept)
        temporary = self._path.with_suffix(".new")
        fresh = Journal(self._path, _open(temporary, truncate=True))
        for record in self._survivors(kept):
            line = _line(record)
            _write_all(fresh._fd, line, fresh._end)
            fresh._index(record, fresh._end, len(line))
            fresh._end += len(line)
        os.fdatasync(fresh._fd)
        temporary.replace(self._path)
        os.close(self._fd)
        self._fd, self._end, self.entries = fresh._fd, fresh._end, fresh.entries

    def _newest(self, bytes_kept: int) -> set[str]:
        kept: set[str] = set()
        for call_id, entry in sorted(self.entries.items(), key=lambda item: -item[1].offset):
            bytes_kept -= entry.size
            if bytes_kept < 0:
                break
            kept.add(call_id)
        return kept

    def _survivors(self, kept: set[str]) -> Iterator[Record]:
        if self.bound is not None:
            yield {"op": "bound", **self.bound}
        yield {"op": "epoch", "epoch": self.epoch}
        for call_id, entry in self.entries.items():
            yield {"op": "intent", "tool_use_id": call_id, "digest": entry.digest, "boot_id": entry.boot_id}
            if entry.outcome is None:
                continue
            result = self.result(call_id) if call_id in kept else None
            yield result or {"op": "dropped", "tool_use_id": call_id, "outcome": entry.outcome}

    def _load(self) -> None:
        with self._path.open("rb") as lines:
            for line in lines:
                record = _parse(line)
                if record is None and not line.endswith(b"\n"):
                    break  # torn: its writer never acknowledged it
                if record is not None:  # a damaged line in the middle loses that record and no other
                    self._index(record, self._end, len(line))
                self._end += len(line)
        os.ftruncate(self._fd, self._end)

    def _index(self, record: Record, offset: int, size: int) -> None:
        match record:
            case {"op": "bound", "session": str(), "name": str(), "secret_sha256": str(), "epoch": int(epoch)}:
                self.bound = {key: record[key] for key in ("session", "name", "secret_sha256", "epoch")}
                self.epoch = max(self.epoch, epoch)
            case {"op": "epoch", "epoch": int(epoch)}:
                self.epoch = max(self.epoch, epoch)
            case {"op": "intent", "tool_use_id": str(call_id), "digest": str(digest), "boot_id": str(boot_id)}:
                self.entries[call_id] = Entry(digest=digest, boot_id=boot_id)
            case {"op": "result", "tool_use_id": str(call_id), "outcome": str(outcome)} if call_id in self.entries:
                entry = self.entries[call_id]
                self.entries[call_id] = replace(entry, outcome=outcome, offset=offset, size=size)
            case {"op": "dropped", "tool_use_id": str(call_id), "outcome": str(outcome)} if call_id in self.entries:
                self.entries[call_id] = replace(self.entries[call_id], outcome=outcome)


def _open(path: Path, *, truncate: bool = False) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | (os.O_TRUNC if truncate else 0)
    return os.open(path, flags, 0o600)


def _write_all(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(fd, view, offset)
        view, offset = view[done:], offset + done


def _read_all(fd: int, size: int, offset: int) -> bytes:
    pieces = bytearray()
    while len(pieces) < size and (piece := os.pread(fd, size - len(pieces), offset + len(pieces))):
        pieces += piece
    return bytes(pieces)


def _line(record: Record) -> bytes:
    payload = json.dumps(record, separators=(",", ":")).encode("ascii")
    return b"%08x %s\n" % (zlib.crc32(payload), payload)


def _parse(line: bytes) -> Record | None:
    """Return the record of a whole and undamaged line."""
    checksum, _, payload = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or b"%08x" % zlib.crc32(payload) != checksum:
        return None
    record = json.loads(payload)
    return record if isinstance(record, dict) else None
