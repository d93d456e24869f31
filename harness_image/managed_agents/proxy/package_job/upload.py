"""Brings what was installed to the server: one gzipped tar, made while it is sent, again until the server has it."""

import asyncio
import gzip
import json
import os
import tarfile
import threading
from asyncio import StreamReader
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import structlog
from aiohttp import ClientError, ClientSession, ClientTimeout
from yarl import URL

from managed_agents.proxy.settings import CONNECT_SECONDS

CHUNK_BYTES = 256 * 1024
ATTEMPTS_MAX = 150
"""Attempts, one every PAUSE_SECONDS: the operator registers this Pod when it looks at the Job the next time."""

PAUSE_SECONDS = 2.0
SILENCE_SECONDS = 120.0
COMPRESSION = 6

_log = structlog.get_logger()


class UploadError(Exception):
    """The server does not take the archive. The message is for the Environment's author."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """What is to be brought, and where."""

    server_url: URL
    token_file: Path
    namespace: str
    digest: str
    folder: Path
    pause_seconds: float = PAUSE_SECONDS
    attempts_max: int = ATTEMPTS_MAX

    @property
    def url(self) -> URL:
        """Return the archive's URL."""
        return self.server_url / f"internal/v1/packages/{self.namespace}/{self.digest}"


async def upload(wanted: Upload) -> None:
    """Bring the archive. Raises: UploadError when the server refuses it for good or never takes it."""
    timeout = ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS)
    async with ClientSession(timeout=timeout) as client:
        before = None
        for _ in range(wanted.attempts_max):
            said = await _attempt(client, wanted)
            if said is None:
                return
            if said != before:
                _log.info("not_taken", reason=said)
            before = said
            await asyncio.sleep(wanted.pause_seconds)
    raise UploadError(f"the server did not take the archive: {said}")


async def _attempt(client: ClientSession, wanted: Upload) -> str | None:
    """Send the archive once; None when it was taken, else what was said. Raises: UploadError."""
    token = (await asyncio.to_thread(wanted.token_file.read_text)).strip()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/gzip"}
    try:
        async with client.put(wanted.url, data=archive_of(wanted.folder), headers=headers) as answer:
            if answer.status == 200:
                _log.info("taken", size_bytes=(await answer.json()).get("size_bytes"))
                return None
            said = f"status {answer.status}: {_message_in((await answer.text())[:2000])}"
    except (ClientError, TimeoutError, OSError) as problem:
        return f"{type(problem).__name__}: {problem}"
    if answer.status in {400, 413, 507}:
        raise UploadError(f"the server refuses the archive: {said}")
    return said


def _message_in(text: str) -> str:
    """Return the message of an error envelope, for people to read, or the beginning of whatever else was answered."""
    try:
        document = json.loads(text)
        return str(document["error"]["message"])
    except (ValueError, TypeError, KeyError):
        return text[:500]


async def archive_of(folder: Path) -> AsyncIterator[bytes]:
    """Yield a gzipped tar of a folder's content: relative names, nobody's files, no times."""
    read_end, write_end = os.pipe()
    loop = asyncio.get_running_loop()
    reader = StreamReader(limit=CHUNK_BYTES)
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_end, "rb", buffering=0)
    )
    failed: list[OSError] = []
    packing = threading.Thread(target=_pack, args=(folder, write_end, failed), daemon=True)
    packing.start()
    try:
        while chunk := await reader.read(CHUNK_BYTES):
            yield chunk
    finally:
        transport.close()  # a thread that still writes gets EPIPE
        await asyncio.to_thread(packing.join)
    if failed:
        raise failed[0]


def _pack(folder: Path, write_end: int, failed: list[OSError]) -> None:
    try:
        with (
            os.fdopen(write_end, "wb") as sink,
            gzip.GzipFile(fileobj=sink, mode="wb", compresslevel=COMPRESSION, filename="", mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w|") as archive,
        ):
            for path in sorted(folder.iterdir()):
                archive.add(path, arcname=path.name, filter=_anonymous)
    except OSError as problem:
        failed.append(problem)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Keep files, folders and links; what else a package brings has no place in a sandbox."""
    if not (member.isfile() or member.isdir() or member.issym() or member.islnk()):
        return None
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime = 0
    return member
