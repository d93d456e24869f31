"""What a killed server leaves of files: all that it acknowledged, and nothing else."""

import asyncio
import signal
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from support.requirements import requirement
from support.server import USER_TOKEN, ServerProcess, server_process

pytestmark = pytest.mark.slow

HEADERS = {"anthropic-workspace-id": "team-a"}
PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="half.bin"\r\n\r\n'


def contents(folder: Path) -> list[Path]:
    return [path for path in (folder / "files").rglob("*") if path.is_file() and "sqlite" not in path.name]


async def until_there_are(count: int, folder: Path) -> None:
    async with asyncio.timeout(5):
        while len(contents(folder)) != count:  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.01)


async def begin_upload(process: ServerProcess, size: int) -> asyncio.StreamWriter:
    """Send the first bytes of an upload and keep its connection."""
    url = URL(process.server.public_url)
    _, writer = await asyncio.open_connection(url.host, url.port)
    fields = {
        "Host": "server",
        "Authorization": f"Bearer {USER_TOKEN}",
        "Content-Type": "multipart/form-data; boundary=b",
        "Content-Length": str(2 * size),
        **HEADERS,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    writer.write(f"POST /v1/files HTTP/1.1\r\n{head}\r\n".encode() + PART + b"x" * size)
    await writer.drain()
    return writer


@requirement("files-whole")
async def test_a_server_killed_within_an_upload_comes_back_with_what_it_had(tmp_path: Path) -> None:
    async with server_process(tmp_path) as process:
        form = aiohttp.FormData()
        form.add_field("file", b"whole", filename="whole.txt")
        url = f"{process.server.public_url}/v1/files"
        status, uploaded = await process.server.call("POST", url, USER_TOKEN, data=form, headers=HEADERS)
        assert status == 200
        writer = await begin_upload(process, 3_000_000)
        await until_there_are(2, tmp_path)
        await process.stop(signal.SIGKILL)
        writer.close()
        assert len(contents(tmp_path)) == 2
        await process.start()
        [kept] = contents(tmp_path)
        assert kept.read_bytes() == b"whole"
        assert await process.server.user("GET", f"/files/{uploaded['id']}") == (200, uploaded)


async def test_a_client_that_goes_away_within_an_upload_leaves_nothing(tmp_path: Path) -> None:
    async with server_process(tmp_path) as process:
        writer = await begin_upload(process, 3_000_000)
        await until_there_are(1, tmp_path)
        writer.close()
        await until_there_are(0, tmp_path)
        assert await process.server.user("GET", "/files", headers=HEADERS) == (200, {"data": [], "next_page": None})
