"""Packages of a sandbox that no session has: who may bring them, and that the token still binds afterwards."""

import asyncio
import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from support.requirements import requirement
from support.sandbox_process import SECRET, TOKEN, Answer, Sandbox, exchange, request_bytes

pytestmark = pytest.mark.slow  # whole processes

DIGEST = "0123456789abcdef" * 2


@pytest.fixture
def arguments(tmp_path: Path) -> tuple[str, ...]:
    return ("--packages", str(tmp_path), "--packages-digest", DIGEST)


def _archive() -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as archive:
        member = tarfile.TarInfo("pip/greeting.py")
        member.size = 5
        archive.addfile(member, io.BytesIO(b"x = 1"))
    return written.getvalue()


async def _put(sandbox: Sandbox, content: bytes, **headers: str) -> Answer:
    head = request_bytes("PUT", f"/packages/{DIGEST}", None, **headers)
    sized = head.replace(b"Content-Length: 0", b"Content-Length: %d" % len(content))
    return await exchange(sandbox.port, sized + content)


def _by(bearer: str, **headers: str) -> dict[str, Any]:
    return {"Authorization": f"Bearer {bearer}", **headers}


@requirement("warm-sandbox-packages")
async def test_the_holder_of_the_token_brings_packages_before_the_bind(blank: Sandbox, tmp_path: Path) -> None:
    assert (await blank.get("/packages", **_by(TOKEN))).body == {"digest": DIGEST, "is_there": False}
    assert (await _put(blank, _archive(), **_by(TOKEN))).body == {"digest": DIGEST, "is_there": True}
    assert (tmp_path / "pip" / "greeting.py").read_text() == "x = 1"
    assert (await blank.get("/healthz")).body == {"runner": True, "bound": False}
    assert (await blank.bind()).status == 200
    assert (await blank.get("/packages", **_by(SECRET, X_Epoch="1"))).body["is_there"] is True


async def test_nobody_else_brings_packages_before_the_bind(blank: Sandbox) -> None:
    for bearer in ("wrong", SECRET):
        assert (await blank.get("/packages", **_by(bearer, X_Epoch="1"))).error == "not_bound"
        assert (await _put(blank, _archive(), **_by(bearer, X_Epoch="1"))).error == "not_bound"
    assert (await blank.get("/packages")).error == "authentication_error"


async def test_the_token_opens_nothing_of_a_bound_sandbox(sandbox: Sandbox) -> None:
    assert (await sandbox.get("/packages", **_by(TOKEN, X_Epoch="1"))).error == "permission_error"
    assert (await _put(sandbox, _archive(), **_by(TOKEN, X_Epoch="1"))).error == "permission_error"


async def test_a_bind_in_the_middle_of_the_packages_leaves_both_whole(blank: Sandbox) -> None:
    content = _archive()
    head = request_bytes("PUT", f"/packages/{DIGEST}", None, **_by(TOKEN))
    reader, writer = await asyncio.open_connection("127.0.0.1", blank.port)
    writer.write(head.replace(b"Content-Length: 0", b"Content-Length: %d" % len(content)) + content[:10])
    await writer.drain()
    assert (await blank.bind()).status == 200
    writer.write(content[10:])
    await writer.drain()
    assert b" 200 " in await reader.readline()
    writer.close()
    assert (await blank.get("/packages", **_by(SECRET, X_Epoch="1"))).body["is_there"] is True
