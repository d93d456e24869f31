"""Files into a sandbox and out of it, whatever user code makes of its folder."""

import asyncio
import io
import json
import os
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from yarl import URL

from support.requirements import requirement
from support.sandbox_process import SECRET, Sandbox

pytestmark = pytest.mark.slow  # whole processes


class Client:
    """Calls a sandbox as its proxy does."""

    def __init__(self, http: aiohttp.ClientSession, sandbox: Sandbox) -> None:
        self.http, self.sandbox = http, sandbox

    async def __call__(
        self, method: str, path: str, body: Any = None, *, tag: str = "", epoch: int = 1, secret: str = SECRET
    ) -> tuple[int, bytes]:
        headers = {"Authorization": f"Bearer {secret}", "X-Epoch": str(epoch), "X-Tag": tag}
        url = URL(f"http://127.0.0.1:{self.sandbox.port}{path}", encoded=True)
        async with self.http.request(method, url, data=body, headers=headers) as answer:
            return answer.status, await answer.read()

    async def json(self, path: str) -> Any:
        status, body = await self("GET", path)
        assert status == 200, body
        return json.loads(body)


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as http:
        yield Client(http, sandbox)


async def test_an_upload_is_there_for_the_tools_and_read_only(client: Client, sandbox: Sandbox) -> None:
    assert (await client("PUT", "/uploads/data/a%20b.txt", b"text", tag="file_1"))[0] == 200
    placed = sandbox.folder / "uploads" / "data" / "a b.txt"
    assert (placed.read_bytes(), placed.stat().st_mode & 0o777) == (b"text", 0o444)
    assert await client.json("/uploads") == {"files": [{"path": "data/a b.txt", "tag": "file_1", "size": 4}]}
    read = await sandbox.execute("call_1", "read", file_path=str(placed))
    assert read.text == "text"
    assert (await sandbox.execute("call_2", "write", file_path=str(placed), content="x")).body["is_error"] is True


async def test_a_name_of_files_on_their_way_in_is_refused(client: Client) -> None:
    status, answer = await client("PUT", "/uploads/.incoming-1", b"x", tag="file_1")
    assert (status, b".incoming-" in answer) == (400, True)
    assert (await client("PUT", "/uploads/data/.incoming-1", b"x", tag="file_1"))[0] == 200
    assert [file["path"] for file in (await client.json("/uploads"))["files"]] == ["data/.incoming-1"]


async def test_an_upload_is_replaced_removed_and_known_after_a_restart(client: Client, sandbox: Sandbox) -> None:
    for path, tag in (("a/b.txt", "file_1"), ("a/c.txt", "file_2"), ("a/b.txt", "file_3")):
        assert (await client("PUT", f"/uploads/{path}", tag.encode(), tag=tag))[0] == 200
    await sandbox.kill("supervisor")
    (sandbox.folder / "uploads" / ".incoming-7").write_text("half")
    await sandbox.start_supervisor()
    listed = {file["path"]: file["tag"] for file in (await client.json("/uploads"))["files"]}
    assert listed == {"a/b.txt": "file_3", "a/c.txt": "file_2"}
    assert (await client("DELETE", "/uploads/a/b.txt"))[0] == 200
    assert [str(path.name) for path in (sandbox.folder / "uploads").rglob("*")] == ["a", "c.txt"]
    assert (await client("DELETE", "/uploads/a/c.txt"))[0] == 200
    assert list((sandbox.folder / "uploads").iterdir()) == []
    assert (await client("DELETE", "/uploads/a/c.txt"))[0] == 404


@pytest.mark.parametrize("arguments", [("--file-bytes-max", "3000000", "--uploads-bytes-max", "4000000")])
async def test_uploads_are_bounded_and_a_refused_one_leaves_nothing(client: Client, sandbox: Sandbox) -> None:
    assert (await client("PUT", "/uploads/large", io.BytesIO(b"x" * 3_000_000), tag="file_1"))[0] == 200
    assert (await client("PUT", "/uploads/large", io.BytesIO(b"y" * 3_000_000), tag="file_1"))[0] == 200
    for size, refusal in ((3_000_001, 413), (2_000_000, 507)):
        status, _ = await client("PUT", "/uploads/other", io.BytesIO(b"x" * size), tag="file_1")
        assert status == refusal
    assert [path.name for path in (sandbox.folder / "uploads").iterdir()] == ["large"]


async def test_half_an_upload_is_none(client: Client, sandbox: Sandbox) -> None:
    fields = f"Authorization: Bearer {SECRET}\r\nX-Epoch: 1\r\nX-Tag: t\r\nContent-Length: 9"
    head = f"PUT /uploads/a HTTP/1.1\r\n{fields}\r\n\r\n"
    _, writer = await asyncio.open_connection("127.0.0.1", sandbox.port)
    writer.write(head.encode() + b"half")
    await writer.drain()
    writer.close()
    async with asyncio.timeout(5):
        while list((sandbox.folder / "uploads").iterdir()):  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.01)
    assert await client.json("/uploads") == {"files": []}


async def test_a_path_out_of_the_folder_is_refused(client: Client) -> None:
    outside = (
        "..",
        "a/..",
        "a//b",
        "%2e%2e/x",
        "a%2Fb",
        "%2Fetc",
        "a%00b",
        "%ff",
        "",
        "x" * 256,
        "/".join(["x" * 200] * 6),
    )
    for path in outside:
        assert (path, (await client("PUT", f"/uploads/{path}", b"x", tag="t"))[0]) == (path, 400)
        assert (path, (await client("GET", f"/outputs/{path}"))[0]) == (path, 400)


async def test_who_may_not_call_moves_no_files(client: Client) -> None:
    assert (await client("GET", "/outputs", secret="wrong"))[0] == 403
    assert (await client("PUT", "/uploads/a", b"x", secret="wrong", tag="t"))[0] == 403
    assert (await client("GET", "/uploads", epoch=5))[0] == 200
    assert (await client("PUT", "/uploads/a", b"x", epoch=4, tag="t"))[0] == 409
    assert (await client("PUT", "/uploads/a", b"x", epoch=5))[0] == 400
    assert (await client("PUT", "/outputs/a", b"x", epoch=5))[0] == 405
    assert (await client("GET", "/uploads/a", epoch=5))[0] == 405


async def test_outputs_are_listed_and_read(client: Client, sandbox: Sandbox) -> None:
    assert await client.json("/outputs") == {"files": [], "skipped": 0, "truncated": False}
    made = await sandbox.bash(
        "call_1", "cd ../outputs; mkdir -p a/b; printf text > 'a/b/ü x.txt'; head -c 3000000 /dev/zero > zero"
    )
    assert made.body["is_error"] is False
    listed = (await client.json("/outputs"))["files"]
    assert [(file["path"], file["size"]) for file in listed] == [("a/b/ü x.txt", 4), ("zero", 3_000_000)]
    assert await client("GET", "/outputs/a/b/%C3%BC%20x.txt") == (200, b"text")
    assert await client("GET", "/outputs/zero") == (200, b"\0" * 3_000_000)
    await sandbox.bash("call_2", "cd ../outputs; printf more > 'a/b/ü x.txt'")
    again = (await client.json("/outputs"))["files"]
    assert again[0]["version"] != listed[0]["version"]
    assert again[1] == listed[1]


async def test_private_outputs_are_opened_to_the_supervisor(client: Client, sandbox: Sandbox) -> None:
    secret = sandbox.folder / "secret"
    secret.touch(0o600)
    await sandbox.bash("call_1", "umask 077; cd ../outputs; mkdir -p a/b; echo x > a/b/c; ln -s ../secret link")
    made = sandbox.folder / "outputs" / "a" / "b"
    assert (made.stat().st_mode & 0o777, (made / "c").stat().st_mode & 0o777) == (0o750, 0o640)
    assert secret.stat().st_mode & 0o777 == 0o600


@requirement("A12")
@requirement("files-links")
async def test_links_and_special_files_are_never_followed(client: Client, sandbox: Sandbox) -> None:
    secret = sandbox.folder / "secret"
    secret.mkdir()
    (secret / "key").write_text("canary")
    outputs = sandbox.folder / "outputs"
    (outputs / "link").symlink_to(secret / "key")
    (outputs / "folder").symlink_to(secret)
    os.mkfifo(outputs / "pipe")
    (outputs / "real").write_text("x")
    (outputs / os.fsdecode(b"\xff")).write_text("x")
    listed = await client.json("/outputs")
    assert ([file["path"] for file in listed["files"]], listed["skipped"]) == (["real"], 4)
    for path in ("link", "folder/key", "pipe", "real/x", "absent", "folder"):
        assert (await client("GET", f"/outputs/{path}"))[0] == 404


async def test_a_hostile_tree_is_listed_in_bounds(client: Client, sandbox: Sandbox) -> None:
    outputs = sandbox.folder / "outputs"
    deep = outputs
    for _ in range(40):
        deep = deep / "d"
        deep.mkdir()
    (deep / "lost").write_text("x")
    for number in range(1_200):
        (outputs / f"f{number:04}").touch()
    listed = await client.json("/outputs")
    assert (len(listed["files"]), listed["truncated"]) == (1_000, True)
