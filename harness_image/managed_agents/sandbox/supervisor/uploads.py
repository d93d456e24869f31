"""Files that the session was given: written by us, read-only for the tools, each known by its path and a tag.

Which file lies where is kept beside the journal, where no tool sees it, so that a new proxy need not send all again.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from managed_agents.sandbox.supervisor.errors import ContractError, invalid, not_found
from managed_agents.sandbox.supervisor.file_thread import FileThread
from managed_agents.sandbox.supervisor.logs import log
from managed_agents.sandbox.supervisor.receiving import receive

FILES_MAX = 500  # of a session (API reference §14)
TAG_CHARS_MAX = 256
_PARTIAL = ".incoming-"


class Uploads:
    """The folder and what is known of it. `bytes_max` bounds all files together, below where the Pod is evicted."""

    def __init__(self, folder: Path, known_file: Path, thread: FileThread, bytes_max: int) -> None:
        self._folder = folder
        self._known_file = known_file
        self._thread = thread
        self._bytes_max = bytes_max
        self._known = self._load()
        self._incoming = 0
        self._serial = 0

    def listing(self) -> dict[str, Any]:
        """Return what lies in the folder."""
        return {"files": [{"path": path, **entry} for path, entry in sorted(self._known.items())]}

    async def put(self, path: str, tag: str, size: int, chunks: AsyncIterator[bytes]) -> dict[str, Any]:
        """Write a file, in place of the one at its path. Raises 400, 408, 507."""
        if path.startswith(_PARTIAL):
            raise invalid(f"path: names that begin with {_PARTIAL} are those of files on their way in; use another")
        if not 1 <= len(tag) <= TAG_CHARS_MAX:
            raise invalid(f"X-Tag: must have 1 to {TAG_CHARS_MAX} characters")
        self._check_room(path, size)
        self._serial += 1
        incoming = self._folder / f"{_PARTIAL}{self._serial}"
        self._incoming += size
        try:
            file = await self._thread.run(lambda: _create(incoming))
            await receive(file, size, chunks, self._thread)
            await self._thread.run(lambda: self._keep(incoming, path, tag, size))
        except OSError as error:
            raise _unavailable(path, error) from error
        finally:
            self._incoming -= size
            with suppress(OSError):
                await self._thread.run(lambda: incoming.unlink(missing_ok=True))
        return {"path": path, "tag": tag, "size": size}

    async def delete(self, path: str) -> dict[str, Any]:
        """Remove a file and the folders that are empty then. Raises 404, 507."""
        if path not in self._known:
            raise not_found(f"no upload at {path}")
        try:
            await self._thread.run(lambda: self._remove(path))
        except OSError as error:
            raise _unavailable(path, error) from error
        return {}

    def _check_room(self, path: str, size: int) -> None:
        others = {known: entry["size"] for known, entry in self._known.items() if known != path}
        if sum(others.values()) + self._incoming + size > self._bytes_max:
            message = f"{path}: with its {size} bytes the uploads of this sandbox would exceed {self._bytes_max}"
            raise ContractError(507, "uploads_full", message)
        if len(others) >= FILES_MAX:
            raise ContractError(507, "uploads_full", f"{path}: the sandbox holds {FILES_MAX} uploads already")

    def _keep(self, incoming: Path, path: str, tag: str, size: int) -> None:
        target = self._folder / path
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        incoming.replace(target)
        self._known = {**self._known, path: {"tag": tag, "size": size}}  # a listing may be looking at the old one
        self._save()

    def _remove(self, path: str) -> None:
        self._known = {known: entry for known, entry in self._known.items() if known != path}
        self._save()
        target = self._folder / path
        target.unlink(missing_ok=True)
        for parent in target.relative_to(self._folder).parents[:-1]:
            with suppress(OSError):  # not empty
                (self._folder / parent).rmdir()

    def _load(self) -> dict[str, dict[str, Any]]:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for left in self._folder.glob(f"{_PARTIAL}*"):
                left.unlink()
            known = json.loads(self._known_file.read_bytes())
            return {path: entry for path, entry in known.items() if (self._folder / path).is_file()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            log("warning", "uploads are not known", reason=str(error))
            return {}

    def _save(self) -> None:
        fresh = self._known_file.with_suffix(".new")
        fresh.write_text(json.dumps(self._known))
        fresh.replace(self._known_file)


def _create(incoming: Path) -> int:
    file = os.open(incoming, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444)
    os.fchmod(file, 0o444)  # whatever the umask is: the tools are another user
    return file


def _unavailable(path: str, error: OSError) -> ContractError:
    reason = (error.strerror or str(error)).lower()
    return ContractError(507, "uploads_unavailable", f"{path}: cannot be written: {reason}")
