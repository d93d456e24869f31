"""Archives of other people's making: what could leave the folder is left out, whichever Python unpacks them."""

import asyncio
import io
import tarfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from managed_agents.sandbox.supervisor.errors import ContractError
from managed_agents.sandbox.supervisor.file_thread import FileThread
from managed_agents.sandbox.supervisor.packages import Packages
from managed_agents.sandbox.supervisor.unpacking import unpack

DIGEST = "d" * 64
Member = tuple[str, bytes, dict[str, Any]]


def file(name: str, content: bytes = b"text", **more: Any) -> Member:
    return name, content, more


def link(name: str, target: str) -> Member:
    return name, b"", {"type": tarfile.SYMTYPE, "linkname": target}


def hard(name: str, target: str) -> Member:
    return name, b"", {"type": tarfile.LNKTYPE, "linkname": target}


def folder(name: str) -> Member:
    return name, b"", {"type": tarfile.DIRTYPE, "mode": 0o755}


def packed(*members: Member) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for name, content, more in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in more.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content))
    return made.getvalue()


NOT_IN_3_11_2 = ("data_filter", "tar_filter", "fully_trusted_filter", "FilterError")


@pytest.fixture(params=["with filters", "without filters"], autouse=True)
def python(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """This Python, and one as old as that of Debian 12, whose archives know no filters."""
    if request.param == "without filters":
        extract = tarfile.TarFile.extract

        def old(opened: tarfile.TarFile, member: tarfile.TarInfo, path: Path, set_attrs: bool = True) -> None:
            extract(opened, member, path, set_attrs, filter=trusting)

        trusting = tarfile.fully_trusted_filter
        monkeypatch.setattr(tarfile.TarFile, "extract", old)
        for name in NOT_IN_3_11_2:
            monkeypatch.delattr(tarfile, name)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "target").mkdir()
    return tmp_path / "target"


def unpacked(target: Path, *members: Member) -> int:
    archive = target.parent / "archive"
    archive.write_bytes(packed(*members))
    return unpack(archive, target, {".digest"})


def tree(target: Path) -> dict[str, str]:
    return {
        str(path.relative_to(target)): f"-> {path.readlink()}" if path.is_symlink() else path.read_text()
        for path in sorted(target.rglob("*"))
        if path.is_symlink() or not path.is_dir()
    }


def test_what_packages_are_made_of_is_kept(target: Path) -> None:
    members = [
        folder("."),
        folder("lib"),
        file("./lib/libx.so.1"),
        link("lib/libx.so", "libx.so.1"),
        file("node_modules/tool/cli.js", mode=0o755),
        link("node_modules/.bin/tool", "../tool/cli.js"),
        hard("lib/again", "lib/libx.so.1"),
        link("lib64", "lib"),
    ]
    assert unpacked(target, *members) == 0
    assert tree(target) == {
        "lib/again": "text",
        "lib/libx.so": "-> libx.so.1",
        "lib/libx.so.1": "text",
        "lib64": "-> lib",
        "node_modules/.bin/tool": "-> ../tool/cli.js",
        "node_modules/tool/cli.js": "text",
    }
    assert (target / "node_modules/tool/cli.js").stat().st_mode & 0o777 == 0o755
    assert unpacked(target, *members) == 0  # again over what a broken attempt left


@pytest.mark.parametrize(
    "members",
    [
        [file("../outside/x")],
        [file("a/../../outside/x")],
        [file("/tmp/managed-agents-test-outside")],
        [link("out", "../outside"), file("out/x")],
        [link("out", "/etc")],
        [link("a/out", "../../outside")],
        [link("here", "."), link("out", "here/here/../../outside")],
        [folder("d"), link("d/up", ".."), link("e", "d/up/../outside")],
        [hard("passwd", "/etc/passwd")],
        [hard("x", "../archive")],
        [link("s", "here"), hard("x", "s")],
        [file("pipe", b"", type=tarfile.FIFOTYPE)],
        [file("device", b"", type=tarfile.CHRTYPE)],
        [file(".digest", DIGEST.encode())],
        [file("n" * 2000)],
        [link("long", "x/" * 2000)],
    ],
)
def test_what_could_leave_the_folder_is_left_out(target: Path, members: list[Member]) -> None:
    assert unpacked(target, *members, file("kept")) >= 1

    outside = target.parent / "outside"
    assert list(outside.iterdir()) == []
    assert not Path("/tmp/managed-agents-test-outside").exists()
    assert (target / "kept").read_text() == "text"
    assert not (target / ".digest").exists()
    for path in target.rglob("*"):
        assert path.resolve().is_relative_to(target)


def test_path_too_long_to_be_resolved_leads_nowhere(target: Path) -> None:
    """The shape of CVE-2025-4517: links whose resolved length exceeds what realpath follows."""
    name, members, path = "d" * 247, [], ""
    for step in "abcdefghijklmnop":
        members += [folder(f"{path}{name}"), link(f"{path}{step}", name)]
        path += f"{name}/"
    chain = "/".join("abcdefghijklmnop")
    members += [link(f"{chain}/out", "../" * 16), link("escape", f"{chain}/out/../outside"), file("escape/x")]
    assert unpacked(target, *members) >= 2

    assert list((target.parent / "outside").iterdir()) == []


def test_modes_give_nobody_more_than_reading_and_running(target: Path) -> None:
    modes = {"plain": 0o666, "program": 0o6777, "hidden": 0o000, "private": 0o100}
    unpacked(target, *(file(name, mode=mode) for name, mode in modes.items()), ("d", b"", {"type": tarfile.DIRTYPE}))
    found = {path.name: oct(path.stat().st_mode & 0o7777) for path in target.iterdir()}
    assert found == {"plain": "0o644", "program": "0o755", "hidden": "0o600", "private": "0o700", "d": "0o755"}


def test_file_replaces_a_link_and_is_not_written_through_it(target: Path) -> None:
    assert unpacked(target, file("real", b"first"), link("name", "real"), file("name", b"second")) == 0
    assert tree(target) == {"name": "second", "real": "first"}


@pytest.fixture
def packages(target: Path) -> Iterator[Packages]:
    thread = FileThread()
    yield Packages(target, DIGEST, thread)
    thread.close()


async def body(*pieces: bytes | Exception) -> AsyncIterator[bytes]:
    for piece in pieces:
        if isinstance(piece, Exception):
            raise piece
        yield piece


async def test_archive_whose_sender_leaves_is_not_called_malformed(packages: Packages) -> None:
    with pytest.raises(asyncio.IncompleteReadError):
        await packages.put(DIGEST, 10, body(b"1", asyncio.IncompleteReadError(b"", 9)))


@pytest.mark.parametrize(
    ("pieces", "status", "kind"),
    [
        ((TimeoutError(),), 408, "request_timeout"),
        ((OSError(28, "No space left on device"),), 507, "packages_unavailable"),
        ((b"no archive",), 400, "invalid_request_error"),
        ((packed(file("x", b"0" * 5000))[:60],), 400, "invalid_request_error"),
    ],
)
async def test_each_failure_has_its_own_cause(
    packages: Packages, pieces: tuple[bytes | Exception, ...], status: int, kind: str
) -> None:
    size = sum(len(piece) for piece in pieces if isinstance(piece, bytes))
    with pytest.raises(ContractError) as caught:
        await packages.put(DIGEST, size, body(*pieces))
    assert (caught.value.status, caught.value.kind) == (status, kind)
    assert packages.state()["is_there"] is False


async def test_archive_is_there_once_it_is_whole(packages: Packages, target: Path) -> None:
    archive = packed(file("x"))
    assert await packages.put(DIGEST, len(archive), body(archive)) == {"digest": DIGEST, "is_there": True}
    assert (target / "x").read_text() == "text"
