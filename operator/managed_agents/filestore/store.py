"""The file store as the server uses it: the index on one thread, contents on a few, nothing of it on the event loop."""

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar

from managed_agents.contracts.clock import Clock, rfc3339
from managed_agents.contracts.errors import NotFoundError
from managed_agents.contracts.ids import new_file_id
from managed_agents.filestore.contents import Contents, Partial
from managed_agents.filestore.errors import FileExpiredError, FileTooLargeError
from managed_agents.filestore.index import Index
from managed_agents.filestore.quota import Quota
from managed_agents.filestore.records import (
    FILE_BYTES_MAX,
    NAMESPACE_BYTES_MAX,
    NAMESPACE_FILES_MAX,
    Draft,
    File,
    Listing,
)

T = TypeVar("T")

WRITE_BYTES = 1024 * 1024
"""What is gathered before a thread writes it: few hops between threads, little memory an upload."""

READ_BYTES = 256 * 1024
CONTENT_THREADS = 4

FORGET_AFTER = timedelta(days=30)
"""How long an expired file is still known, so that its readers learn why it is gone."""

ORPHAN_AFTER = timedelta(hours=1)
"""A session's files may be older than its log; after this long without one it is taken for deleted."""


class FileStore:
    """All files of one server. Made by `open_file_store`."""

    def __init__(self, contents: Contents, index: Index, quota: Quota, clock: Clock, *, file_bytes_max: int) -> None:
        self._contents = contents
        self._index = index
        self._quota = quota  # used on the index's thread only
        self._clock = clock
        self._file_bytes_max = file_bytes_max
        self._indexing = ThreadPoolExecutor(max_workers=1, thread_name_prefix="files-index")
        self._moving = ThreadPoolExecutor(max_workers=CONTENT_THREADS, thread_name_prefix="files-contents")

    @property
    def file_bytes_max(self) -> int:
        """Return how large one file may be."""
        return self._file_bytes_max

    async def close(self) -> None:
        """Finish what was begun and close the index."""
        await asyncio.to_thread(self._moving.shutdown)
        await self._on_index(self._index.close)
        self._indexing.shutdown()

    @contextlib.asynccontextmanager
    async def receive(self, namespace: str, *, may_replace: bool = False) -> AsyncIterator["Incoming"]:
        """Take in the bytes of a file; what was not added when the block ends is removed.

        One that may replace another is counted as a file only when it is added.
        Raises: QuotaExceededError, FileVolumeFullError.
        """
        await self._on_index(lambda: self._quota.check_begin(namespace, may_replace=may_replace))
        await self._move(lambda: self._contents.check_room(0))
        begun = self._contents.begin()
        incoming = Incoming(self, begun, namespace)
        try:
            yield incoming
        finally:
            await self._on_index(lambda: self._released(incoming))
            await self._move(begun.discard)

    async def add(self, incoming: "Incoming", draft: Draft) -> File:
        """Store what came in as a file; it is durable on return.

        An output replaces the one of the same path. Raises: QuotaExceededError, FileVolumeFullError.
        """
        whole = await incoming.whole()
        file = File(
            number=0,
            id=new_file_id(),
            namespace=draft.namespace,
            filename=draft.filename,
            mime_type=draft.mime_type,
            size_bytes=whole.size_bytes,
            sha256=whole.sha256,
            created_at=self._now(),
            origin=draft.origin,
            session=draft.session,
            path=draft.path,
            version=draft.version,
            expires_at=draft.expires_at,
            content=whole.name,
        )
        is_stored = False
        try:
            await self._move(lambda: self._contents.keep(whole))
            stored, orphans = await self._on_index(lambda: self._added(file, incoming))
            is_stored = True
        finally:  # a caller that goes may go before or after the commit
            if not is_stored and not await self._on_index(lambda: self._index.has_content(whole.name)):
                await self._remove([whole.name])
        await self._remove(orphans)
        return stored

    async def copy_for_session(self, file_id: str, session_id: str, *, namespace: str) -> File:
        """Give a session its own copy of a file of its namespace, which shares the bytes and lives as long as it does.

        Neither the original's deletion nor its expiry takes it from a living session.

        Raises: NotFoundError, FileExpiredError, QuotaExceededError.
        """

        def copied() -> File:
            original = self._index.get(file_id)
            if original.namespace != namespace:
                raise NotFoundError(f"file {file_id} not found")
            self._require_content(original)
            self._quota.check_files(namespace)
            copy = replace(original, id=new_file_id(), origin="copy", session=session_id, created_at=self._now())
            return self._index.add(replace(copy, path=None, version=None, expires_at=None))[0]

        return await self._on_index(copied)

    async def get(self, file_id: str) -> File:
        """Return a file, expired or not. Raises: NotFoundError."""
        return await self._on_index(lambda: self._index.get(file_id))

    async def files(self, listing: Listing) -> Sequence[File]:
        """Return files of a namespace, newest first."""
        return await self._on_index(lambda: self._index.files(listing))

    async def outputs(self, session_id: str) -> Sequence[File]:
        """Return what a session's tools have left, by path."""
        return await self._on_index(lambda: self._index.outputs(session_id))

    async def note_version(self, file: File, version: str | None) -> File:
        """Note another version of an output whose bytes are the same."""
        await self._on_index(lambda: self._index.touch(file.id, version))
        return replace(file, version=version)

    async def open(self, file: File) -> "Outgoing":
        """Open a file's bytes. Raises: FileExpiredError; NotFoundError when it was deleted meanwhile."""
        name = self._require_content(file)
        with contextlib.ExitStack() as on_failure:
            outgoing = Outgoing(self)
            on_failure.callback(outgoing.close)
            try:
                await self._move(lambda: outgoing.open(self._contents, name))
            except FileNotFoundError:
                raise NotFoundError(f"file {file.id} not found") from None
            on_failure.pop_all()
        return outgoing

    async def delete(self, file_id: str) -> None:
        """Remove a file. Raises: NotFoundError."""
        await self._remove(await self._on_index(lambda: self._index.delete(file_id)))

    async def delete_session(self, session_id: str) -> None:
        """Remove a session's copies and outputs; also when it has none."""
        await self._remove(await self._on_index(lambda: self._index.delete_sessions([session_id])))

    async def expire(self) -> None:
        """Let go of the bytes of what expired."""
        now = self._clock.now()
        await self._remove(await self._on_index(lambda: self._index.expire(rfc3339(now), rfc3339(now - FORGET_AFTER))))

    async def remove_orphans(self, living: Callable[[str], bool]) -> None:
        """Remove the files of sessions that no longer live: a crash may have left them."""
        orphaned = rfc3339(self._clock.now() - ORPHAN_AFTER)
        sessions = await self._on_index(lambda: self._index.sessions(orphaned))
        if dead := [session for session in sessions if not living(session)]:
            await self._remove(await self._on_index(lambda: self._index.delete_sessions(dead)))

    async def write(self, incoming: "Incoming", target: Partial, data: bytes) -> None:
        """Write bytes of an upload; refuse them beyond the quota, and where they would leave the event log no room."""
        await self._on_index(lambda: self._reserved(incoming, len(data)))

        def written() -> None:
            self._contents.check_room(len(data))
            target.write(data)

        await self._move(written)

    async def read(self, file: BinaryIO) -> bytes:
        """Read the next bytes of a content; empty at its end."""
        return await self._move(lambda: file.read(READ_BYTES))

    def check_size(self, size_bytes: int) -> None:
        """Refuse too many bytes. Raises: FileTooLargeError."""
        if size_bytes > self._file_bytes_max:
            raise FileTooLargeError(
                f"file: has more than {self._file_bytes_max} bytes, the most that one file may have"
            )

    def _reserved(self, incoming: "Incoming", size_bytes: int) -> None:
        self._quota.reserve(incoming.namespace, size_bytes)
        incoming.reserved_bytes += size_bytes

    def _released(self, incoming: "Incoming") -> None:
        reserved, incoming.reserved_bytes = incoming.reserved_bytes, 0
        self._quota.release(incoming.namespace, reserved)

    def _added(self, file: File, incoming: "Incoming") -> tuple[File, Sequence[str]]:
        """Store a file; what was reserved for it counts as used from then on."""
        if not (file.origin == "output" and self._index.has_output(file.session, file.path)):
            self._quota.check_files(file.namespace)
        stored = self._index.add(file)
        self._released(incoming)
        return stored

    def _require_content(self, file: File) -> str:
        if file.content is None or (file.expires_at is not None and file.expires_at <= self._now()):
            raise FileExpiredError(f"file {file.id} expired at {file.expires_at}; upload it again")
        return file.content

    async def _remove(self, contents: Sequence[str]) -> None:
        for content in contents:
            await self._move(partial(self._contents.remove, content))

    def _now(self) -> str:
        return rfc3339(self._clock.now())

    async def _on_index(self, call: Callable[[], T]) -> T:
        return await _on_thread(self._indexing, call)

    async def _move(self, call: Callable[[], T]) -> T:
        return await _on_thread(self._moving, call)


class Incoming:
    """A file on its way in: gathers bytes and checks bounds as they come. `reserved_bytes` are the store's to count."""

    def __init__(self, store: FileStore, partial: Partial, namespace: str) -> None:
        self._store = store
        self._partial = partial
        self.namespace = namespace
        self.reserved_bytes = 0
        self._buffer = bytearray()

    @property
    def size_bytes(self) -> int:
        """Return how many bytes came."""
        return self._partial.size_bytes + len(self._buffer)

    async def write(self, data: bytes) -> None:
        """Add bytes. Raises: FileTooLargeError, QuotaExceededError, FileVolumeFullError."""
        self._buffer += data
        self._store.check_size(self.size_bytes)
        if len(self._buffer) >= WRITE_BYTES:
            await self._flush()

    async def whole(self) -> Partial:
        """Return all that came."""
        await self._flush()
        return self._partial

    async def _flush(self) -> None:
        data, self._buffer = bytes(self._buffer), bytearray()
        if data:
            await self._store.write(self, self._partial, data)


class Outgoing:
    """The bytes of a file on their way out."""

    def __init__(self, store: FileStore) -> None:
        self._store = store
        self._file: BinaryIO = io.BytesIO()

    def open(self, contents: Contents, name: str) -> None:
        """Open the file. Blocking."""
        self._file = contents.open(name)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes in order."""
        while chunk := await self._store.read(self._file):
            yield chunk

    def close(self) -> None:
        """Let go of them."""
        self._file.close()


async def _on_thread(thread: ThreadPoolExecutor, call: Callable[[], T]) -> T:
    """Run a blocking call. What a thread began ends before its caller does, so that clearing up comes last."""
    future = asyncio.get_running_loop().run_in_executor(thread, call)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait((future,))
        raise


def open_file_store(
    folder: Path,
    *,
    clock: Clock,
    file_bytes_max: int = FILE_BYTES_MAX,
    namespace_bytes_max: int = NAMESPACE_BYTES_MAX,
    namespace_files_max: int = NAMESPACE_FILES_MAX,
) -> FileStore:
    """Open the store in a folder, made when absent, and remove what a crash left half done.

    Raises: apsw.Error when the index cannot be opened; OSError when the folder cannot be used.
    """
    contents = Contents(folder)
    index = Index(folder / "files.sqlite3")
    contents.sweep(index.contents())
    quota = Quota(index, namespace_bytes_max, namespace_files_max)
    return FileStore(contents, index, quota, clock, file_bytes_max=file_bytes_max)
