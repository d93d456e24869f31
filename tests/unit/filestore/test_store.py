"""The file store: nothing half, nothing lost, nothing left over."""

import asyncio
import errno
import os
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from managed_agents.contracts.errors import NotFoundError
from managed_agents.filestore.contents import Contents, Partial
from managed_agents.filestore.errors import (
    FileExpiredError,
    FileTooLargeError,
    FileVolumeFullError,
    QuotaExceededError,
)
from managed_agents.filestore.records import Draft, File, Listing
from managed_agents.filestore.store import FileStore, open_file_store
from support.clock import ManualClock
from support.requirements import requirement

QUOTA = 10_000
FILES = 12


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def opened(folder: Path, clock: ManualClock) -> FileStore:
    return open_file_store(
        folder, clock=clock, file_bytes_max=6_000, namespace_bytes_max=QUOTA, namespace_files_max=FILES
    )


@pytest.fixture
async def store(tmp_path: Path, clock: ManualClock) -> AsyncIterator[FileStore]:
    made = opened(tmp_path, clock)
    yield made
    await made.close()


async def add(store: FileStore, content: bytes = b"text", **changes: Any) -> File:
    values: dict[str, Any] = {"namespace": "team-a", "filename": "a", "mime_type": "text/plain", "origin": "upload"}
    async with store.receive("team-a", may_replace="path" in changes) as incoming:
        await incoming.write(content)
        return await store.add(incoming, Draft(**values | changes))


async def content_of(store: FileStore, file: File) -> bytes:
    outgoing = await store.open(file)
    try:
        return b"".join([chunk async for chunk in outgoing.chunks()])
    finally:
        outgoing.close()


def on_disk(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and "sqlite" not in path.name]


async def test_a_stored_file_is_there_after_a_restart(tmp_path: Path, clock: ManualClock) -> None:
    first = opened(tmp_path, clock)
    file = await add(first, b"text")
    await first.close()
    second = opened(tmp_path, clock)
    assert await second.get(file.id) == file
    assert await content_of(second, file) == b"text"
    await second.close()


@requirement("files-whole")
async def test_what_a_crash_left_half_done_is_gone_after_a_restart(tmp_path: Path, clock: ManualClock) -> None:
    first = opened(tmp_path, clock)
    file = await add(first)
    await first.close()
    kept = on_disk(tmp_path)
    (tmp_path / "incoming" / "half").write_bytes(b"half an upload")
    (tmp_path / "contents" / "ab").mkdir(exist_ok=True)
    (tmp_path / "contents" / "ab" / "abcd").write_bytes(b"kept, and the crash came before the index knew it")
    second = opened(tmp_path, clock)
    assert on_disk(tmp_path) == kept
    assert await content_of(second, file) == b"text"
    await second.close()


async def test_an_upload_that_ends_early_leaves_nothing(store: FileStore, tmp_path: Path) -> None:
    async def half() -> None:
        async with store.receive("team-a") as incoming:
            await incoming.write(b"x" * 100)
            started.set()
            await asyncio.Event().wait()

    started = asyncio.Event()
    uploading = asyncio.create_task(half())
    await started.wait()
    uploading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await uploading
    assert on_disk(tmp_path) == []


@requirement("files-whole")
async def test_a_caller_that_goes_away_at_the_commit_gets_all_or_nothing(store: FileStore, tmp_path: Path) -> None:
    for steps in range(12):
        adding = asyncio.create_task(add(store, b"x" * 10))
        for _ in range(steps):
            await asyncio.sleep(0)
        adding.cancel()
        await asyncio.gather(adding, return_exceptions=True)
        files = await store.files(Listing(namespace="team-a", limit=100))
        for file in files:
            assert await content_of(store, file) == b"x" * 10
        assert len(on_disk(tmp_path)) == len(files)


async def test_a_file_above_its_limit_and_files_above_the_quota_are_refused(store: FileStore, tmp_path: Path) -> None:
    with pytest.raises(FileTooLargeError):
        await add(store, b"x" * 6_001)
    await add(store, b"x" * 6_000)
    with pytest.raises(QuotaExceededError):
        await add(store, b"x" * 4_001)
    last = await add(store, b"x" * 4_000)
    with pytest.raises(QuotaExceededError):
        await add(store, b"")
    assert len(on_disk(tmp_path)) == 2
    await store.delete(last.id)
    await add(store, b"x" * 4_000)


async def test_uploads_at_the_same_time_do_not_exceed_the_quota_together(store: FileStore, tmp_path: Path) -> None:
    results = await asyncio.gather(*(add(store, b"x" * 3_000) for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(result, File) for result in results) == 3
    assert sum(isinstance(result, QuotaExceededError) for result in results) == 2
    assert len(on_disk(tmp_path)) == 3


async def test_bytes_on_their_way_count_and_those_that_never_arrive_are_given_back(
    store: FileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("managed_agents.filestore.store.WRITE_BYTES", 1_000)
    async with store.receive("team-a") as first:
        await first.write(b"x" * 6_000)
        async with store.receive("team-a") as second:
            await second.write(b"x" * 4_000)
            with pytest.raises(QuotaExceededError):
                await second.write(b"x" * 1_000)
            with pytest.raises(QuotaExceededError):
                await add(store, b"x")
            async with store.receive("team-b") as elsewhere:
                await elsewhere.write(b"x" * 6_000)
        assert sum(path.stat().st_size for path in on_disk(tmp_path)) <= QUOTA
        await add(store, b"x" * 4_000)
    await add(store, b"x" * 6_000)
    with pytest.raises(QuotaExceededError):
        await add(store, b"x")


async def test_a_namespace_has_so_many_files_and_an_output_in_place_of_another_is_none_more(store: FileStore) -> None:
    file = await add(store)
    output = {"origin": "output", "session": "sesn_1", "path": "a"}
    await add(store, b"", **output)
    results = await asyncio.gather(*(add(store) for _ in range(FILES)), return_exceptions=True)
    assert sum(isinstance(result, QuotaExceededError) for result in results) == 2
    with pytest.raises(QuotaExceededError, match=rf"has {FILES} files.*FILES_MAX"):
        await add(store)
    with pytest.raises(QuotaExceededError):
        await store.copy_for_session(file.id, "sesn_1", namespace="team-a")
    await store.delete(file.id)
    await add(store)


async def test_an_output_in_place_of_another_needs_no_more_files(store: FileStore) -> None:
    output = {"origin": "output", "session": "sesn_1", "path": "a"}
    await add(store, b"", **output)
    for _ in range(FILES - 1):
        await add(store)
    await add(store, b"new", **output)


async def test_a_copy_shares_the_bytes_and_keeps_them(store: FileStore, tmp_path: Path) -> None:
    original = await add(store, b"x" * 6_000)
    copies = [await store.copy_for_session(original.id, f"sesn_{n}", namespace="team-a") for n in range(3)]
    assert {(copy.origin, copy.session is None, copy.id == original.id) for copy in copies} == {("copy", False, False)}
    assert len(on_disk(tmp_path)) == 1
    await add(store, b"x" * 4_000)  # the copies count once
    await store.delete(original.id)
    assert await content_of(store, copies[0]) == b"x" * 6_000
    for copy in copies:
        assert copy.session is not None
        await store.delete_session(copy.session)
    assert len(on_disk(tmp_path)) == 1


async def test_only_what_is_there_in_the_namespace_can_be_copied(store: FileStore, clock: ManualClock) -> None:
    file = await add(store, expires_at="2026-01-01T01:00:00.000000Z")
    for file_id, namespace in (("file_unknown", "team-a"), (file.id, "team-b")):
        with pytest.raises(NotFoundError):
            await store.copy_for_session(file_id, "sesn_1", namespace=namespace)
    clock.advance(3_600)
    with pytest.raises(FileExpiredError):
        await store.copy_for_session(file.id, "sesn_2", namespace="team-a")


@requirement("files-kept")
async def test_a_session_s_copy_outlives_the_expiry_of_its_source(
    store: FileStore, clock: ManualClock, tmp_path: Path
) -> None:
    file = await add(store, expires_at="2026-01-01T01:00:00.000000Z")
    before = await content_of(store, file)
    copy = await store.copy_for_session(file.id, "sesn_1", namespace="team-a")
    assert copy.expires_at is None
    clock.advance(31 * 24 * 3_600)
    await store.expire()
    with pytest.raises(NotFoundError):
        await store.get(file.id)
    assert await content_of(store, copy) == before
    await store.delete_session("sesn_1")
    assert on_disk(tmp_path) == []


@requirement("files-end")
async def test_expired_bytes_go_and_the_file_is_known_for_a_while(
    store: FileStore, clock: ManualClock, tmp_path: Path
) -> None:
    file = await add(store, b"x" * 6_000, expires_at="2026-01-01T01:00:00.000000Z")
    await store.expire()
    assert await content_of(store, file) == b"x" * 6_000
    clock.advance(3_600)
    with pytest.raises(FileExpiredError):
        await store.open(file)
    await store.expire()
    assert on_disk(tmp_path) == []
    await add(store, b"x" * 6_000)
    assert (await store.get(file.id)).content is None
    clock.advance(31 * 24 * 3_600)
    await store.expire()
    with pytest.raises(NotFoundError):
        await store.get(file.id)


async def test_an_output_takes_the_place_of_the_one_at_its_path(store: FileStore, tmp_path: Path) -> None:
    output = {"origin": "output", "session": "sesn_1", "path": "a/b.txt"}
    first = await add(store, b"one", **output, version="1")
    other = await add(store, b"else", **output | {"session": "sesn_2"}, version="1")
    second = await add(store, b"two", **output, version="2")
    assert await store.outputs("sesn_1") == [second]
    assert await store.outputs("sesn_2") == [other]
    with pytest.raises(NotFoundError):
        await store.get(first.id)
    assert len(on_disk(tmp_path)) == 2


async def test_files_of_sessions_that_are_gone_are_removed_after_a_while(store: FileStore, clock: ManualClock) -> None:
    upload = await add(store)
    for session in ("sesn_gone", "sesn_lives"):
        await add(store, origin="output", session=session, path="a")
    await store.remove_orphans(lambda session: session == "sesn_lives")
    assert len(await store.outputs("sesn_gone")) == 1  # its log may be on its way
    clock.advance(3_601)
    await store.remove_orphans(lambda session: session == "sesn_lives")
    assert await store.outputs("sesn_gone") == []
    assert len(await store.outputs("sesn_lives")) == 1
    assert await store.get(upload.id) == upload


async def test_a_reader_gets_all_bytes_of_a_file_that_is_deleted_meanwhile(store: FileStore) -> None:
    file = await add(store, b"text")
    outgoing = await store.open(file)
    await store.delete(file.id)
    assert [chunk async for chunk in outgoing.chunks()] == [b"text"]
    outgoing.close()
    with pytest.raises(NotFoundError):
        await store.open(file)


def _full(*_: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("target", "name", "failing"),
    [
        (Partial, "write", None),
        (os, "fsync", _full),
        (Path, "rename", _full),
    ],
)
@requirement("files-whole")
async def test_a_full_volume_is_said_and_leaves_nothing(
    store: FileStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    target: Any,
    name: str,
    failing: Callable[..., Any] | None,
) -> None:
    def write(partial: Partial, data: bytes) -> None:
        partial._file = open("/dev/full", "wb", buffering=0)  # noqa: SIM115, PTH123 - the store closes it
        original(partial, data)

    original = Partial.write
    with monkeypatch.context() as patched:
        patched.setattr(target, name, failing or write)
        with pytest.raises(FileVolumeFullError):
            await add(store)
    assert on_disk(tmp_path) == []
    await add(store)


async def test_a_reserve_of_the_volume_is_the_event_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = Contents(tmp_path)
    usage = type(shutil.disk_usage(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(2 * 1024**3, 0, 215_000_000))
    contents.check_room(200_000)  # a tenth of 2 GiB stays
    with pytest.raises(FileVolumeFullError):
        contents.check_room(300_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100 * 1024**3, 0, 268_435_456 + 1_000))
    contents.check_room(1_000)
    with pytest.raises(FileVolumeFullError):
        contents.check_room(1_001)
