"""The Environment's packages: one archive, unpacked once where the tools see it and cannot change it.

An archive is what other people's packages brought, so nothing in it leaves the folder (`unpacking.py`).
"""

from __future__ import annotations

import asyncio
import os
import tarfile
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from managed_agents.sandbox.supervisor.errors import ContractError, invalid
from managed_agents.sandbox.supervisor.file_thread import FileThread
from managed_agents.sandbox.supervisor.logs import log
from managed_agents.sandbox.supervisor.receiving import receive
from managed_agents.sandbox.supervisor.unpacking import unpack

ARCHIVE_BYTES_MAX = 4 * 1024**3
_INCOMING = ".incoming"
_MARK = ".digest"  # written last: what it names is there whole
_FRESH_MARK = f"{_MARK}.new"
_OWN = frozenset({_INCOMING, _MARK, _FRESH_MARK})


class Packages:
    """The folder, and the hash of what this sandbox must have before its first call; empty where it needs nothing."""

    def __init__(self, folder: Path, wanted: str, thread: FileThread) -> None:
        self._folder = folder
        self._wanted = wanted
        self._thread = thread
        self._is_receiving = False

    def state(self) -> dict[str, Any]:
        """Return what is wanted and whether it is there."""
        return {"digest": self._wanted or None, "is_there": not self._wanted or self._there() == self._wanted}

    async def put(self, digest: str, size: int, chunks: AsyncIterator[bytes]) -> dict[str, Any]:
        """Unpack an archive. Raises 400 for one that is not wanted or is none, 408, 409 while one comes in, 507.

        Raises `IncompleteReadError` where the client goes away within it.
        """
        if digest != self._wanted:
            raise invalid(f"packages {digest[:32]!r}: this sandbox wants {self._wanted or 'none'}")
        if self._is_receiving:
            raise ContractError(409, "packages_busy", "the packages are on their way already")
        incoming = self._folder / _INCOMING
        self._is_receiving = True
        try:
            file = await self._thread.run(
                lambda: os.open(incoming, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC)
            )
            await receive(file, size, chunks, self._thread)
            left_out = await self._thread.run(lambda: unpack(incoming, self._folder, _OWN))
            await self._thread.run(lambda: self._mark(digest))
        except asyncio.IncompleteReadError:  # an EOFError, but the archive's end is not at fault
            log("info", "packages cut off", digest=digest)
            raise
        except (tarfile.TarError, EOFError, ValueError) as error:
            raise invalid(f"packages {digest}: not a gzipped tar: {error}") from error
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise ContractError(
                507, "packages_unavailable", f"packages {digest}: cannot be written: {reason}"
            ) from error
        finally:
            self._is_receiving = False
            with suppress(OSError):
                await self._thread.run(lambda: incoming.unlink(missing_ok=True))
        log("info", "packages unpacked", digest=digest, bytes=size, left_out=left_out)
        return self.state()

    def _there(self) -> str:
        try:
            return (self._folder / _MARK).read_text("ascii")
        except OSError:
            return ""

    def _mark(self, digest: str) -> None:
        fresh = self._folder / _FRESH_MARK
        fresh.write_text(digest, "ascii")
        fresh.replace(self._folder / _MARK)
