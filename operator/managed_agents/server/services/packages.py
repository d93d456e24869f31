"""Archives of installed packages on the server's volume, by namespace and hash, and who may bring one.

An archive is made once, is never changed, and can be made again: it needs no index but the folder.
"""

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from managed_agents.contracts.errors import NotFoundError, RejectedError
from managed_agents.contracts.packages import ARCHIVE_BYTES_MAX, is_digest
from managed_agents.filestore.contents import check_room
from managed_agents.filestore.errors import QuotaExceededError
from managed_agents.server.services.errors import NotRegisteredError

WRITE_BYTES = 1024 * 1024
NAMESPACE_BYTES_MAX = 10 * 1024**3
"""What the archives of one namespace may take together where the administrator says nothing: as its files."""

_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")
_PARTIAL = ".incoming"


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """One archive's name."""

    namespace: str
    digest: str


class PackageStore:
    """A folder of archives. Pods that install are registered for one archive each; a restart forgets them."""

    def __init__(self, folder: Path, *, namespace_bytes_max: int = NAMESPACE_BYTES_MAX) -> None:
        self._folder = folder
        self._namespace_bytes_max = namespace_bytes_max
        for left in folder.glob(f"*/{_PARTIAL}-*"):  # by a crash
            left.unlink(missing_ok=True)
        self._pods: dict[str, Archive] = {}

    def register(self, pod_uid: str, archive: Archive) -> None:
        """Let a Pod bring this archive."""
        self._pods[pod_uid] = archive

    def unregister(self, pod_uid: str) -> None:
        """Let it no more."""
        self._pods.pop(pod_uid, None)

    def check_registered(self, pod_uid: str, archive: Archive) -> None:
        """Refuse a Pod that was not registered for this archive. Raises: NotRegisteredError."""
        if self._pods.get(pod_uid) != archive:
            raise NotRegisteredError(f"Pod {pod_uid} is not registered for these packages")

    async def size(self, archive: Archive) -> int:
        """Return an archive's size in bytes. Raises: NotFoundError."""
        path = self.path(archive)
        try:
            return (await asyncio.to_thread(path.stat)).st_size
        except FileNotFoundError:
            raise NotFoundError(f"no packages {archive.digest} in namespace {archive.namespace}") from None

    def path(self, archive: Archive) -> Path:
        """Return where an archive lies, or would. Raises: RejectedError on a name that is none."""
        if not _NAMESPACE.match(archive.namespace) or not is_digest(archive.digest):
            raise RejectedError("the path must name a namespace and a hash of 32 hexadecimal digits")
        return self._folder / archive.namespace / f"{archive.digest}.tar.gz"

    async def listed(self) -> list[Archive]:
        """Return all archives."""
        return await asyncio.to_thread(self._listed)

    def _listed(self) -> list[Archive]:
        return [
            Archive(namespace=path.parent.name, digest=path.name.removesuffix(".tar.gz"))
            for path in sorted(self._folder.glob("*/*.tar.gz"))
        ]

    async def remove(self, archive: Archive) -> None:
        """Remove an archive; one that is gone is success."""
        path = self.path(archive)
        await asyncio.to_thread(partial(path.unlink, missing_ok=True))

    async def receive(self, archive: Archive, pod_uid: str, chunks: AsyncIterator[bytes]) -> int:
        """Store an archive, durable on return, and return its size.

        Raises: RejectedError when it is too large, alone or with the namespace's others (QuotaExceededError);
        FileVolumeFullError where the event log would lack room.
        """
        target = self.path(archive)
        part = target.with_name(f"{_PARTIAL}-{archive.digest}-{pod_uid[:36].replace('/', '')}")
        await asyncio.to_thread(partial(target.parent.mkdir, parents=True, exist_ok=True))
        try:
            size = await _write(part, chunks, lambda more: self._check_quota(target, more))
            await asyncio.to_thread(part.replace, target)
            await asyncio.to_thread(_sync_folder, target.parent)
        finally:
            with contextlib.suppress(OSError):
                await asyncio.to_thread(partial(part.unlink, missing_ok=True))
        return size

    def _check_quota(self, target: Path, more_bytes: int) -> None:
        """Refuse more bytes than are left beside the namespace's archives, among them those on their way in.

        The one in whose place this one comes does not count. Raises: QuotaExceededError.
        """
        taken = sum(_size_of(path) for path in target.parent.iterdir() if path != target)
        if taken + more_bytes > self._namespace_bytes_max:
            quota = f"their quota of {self._namespace_bytes_max} bytes"
            raise QuotaExceededError(
                f"the packages of namespace {target.parent.name} exceed {quota} (the server's --packages-bytes-max);"
                " install fewer, use an image that holds them, or delete Environments that nobody needs: their"
                " archives go within ten minutes"
            )


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # brought, or given up, meanwhile
        return 0


async def _write(part: Path, chunks: AsyncIterator[bytes], check: Callable[[int], None]) -> int:
    size, buffer = 0, bytearray()
    file = await asyncio.to_thread(part.open, "wb")
    try:
        async for chunk in chunks:
            size += len(chunk)
            if size > ARCHIVE_BYTES_MAX:
                raise RejectedError(f"the packages exceed {ARCHIVE_BYTES_MAX} bytes; install fewer, or use an image")
            buffer += chunk
            if len(buffer) >= WRITE_BYTES:
                data, buffer = bytes(buffer), bytearray()
                await asyncio.to_thread(_put, file, data, check)
        await asyncio.to_thread(_put, file, bytes(buffer), check)
        await asyncio.to_thread(file.flush)
        await asyncio.to_thread(os.fsync, file.fileno())
    finally:
        await asyncio.to_thread(file.close)
    return size


def _put(file: BinaryIO, data: bytes, check: Callable[[int], None]) -> None:
    check(len(data))
    check_room(Path(file.name).parent, len(data))
    file.write(data)
    file.flush()  # so that its size is what others count


def _sync_folder(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
