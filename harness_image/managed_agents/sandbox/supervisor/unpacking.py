"""Unpacks an archive of other people's making into a folder, and leaves out whatever could leave that folder.

Python's own filter is not asked: Python 3.11.2, which Debian 12 has, knows none, before 3.11.13 and 3.12.11 it follows
links out (CVE-2025-4517 and its like), and which Python runs here is the image's choice. Two rules hold on any: a
member lies below real folders only, so nothing is written through a link; and a link is relative, with `..` only in
front and never above the folder. Where each link keeps to that, each chain of links does.
"""

from __future__ import annotations

import copy
import os
import stat
import tarfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

from managed_agents.sandbox.supervisor.file_paths import is_path

LINK_CHARS_MAX = 1024


class _RefusedError(Exception):
    """This member is left out."""


def unpack(archive: Path, folder: Path, reserved: Collection[str]) -> int:
    """Unpack a gzipped tar; returns how many members were left out, among them those of reserved names at the top.

    Nobody else may write into the folder meanwhile. Raises `tarfile.TarError`, `EOFError`, `ValueError`, `OSError`.
    """
    unpacking = _Unpacking(folder, reserved)
    left_out = 0
    as_it_is: dict[str, Any] = {"filter": "fully_trusted"} if hasattr(tarfile, "fully_trusted_filter") else {}
    with tarfile.open(archive, "r|gz") as opened:
        for member in opened:
            try:
                unpacking.admit(member)
            except _RefusedError:
                left_out += 1
            else:
                opened.extract(_tamed(member), folder, **as_it_is)
    return left_out


def _tamed(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Return a member that is ours, writable by us alone, and sets no other user's or group's identity."""
    tamed = copy.copy(member)
    tamed.uid, tamed.gid, tamed.uname, tamed.gname = os.getuid(), os.getgid(), "", ""
    tamed.mode = 0o755 if member.isdir() else member.mode & (0o755 if member.mode & 0o100 else 0o644) | 0o600
    return tamed


class _Unpacking:
    def __init__(self, folder: Path, reserved: Collection[str]) -> None:
        self._folder = folder
        self._reserved = reserved
        self._real = {folder}  # folders that are no links, for only we could change that

    def admit(self, member: tarfile.TarInfo) -> None:
        """Make room for a member. Raises `_RefusedError`."""
        parts = _parts(member.name)
        if not parts and member.isdir():
            return
        if not parts or parts[0] in self._reserved:
            raise _RefusedError
        target = self._below_real_folders(parts)
        if member.issym():
            _check_link(member.linkname, depth=len(parts) - 1)
        elif member.islnk():
            self._check_hard_link(member.linkname)
        elif not (member.isreg() or member.isdir()) or member.size < 0:
            raise _RefusedError
        self._make_room(target, is_folder=member.isdir())

    def _below_real_folders(self, parts: list[str]) -> Path:
        folder = self._folder
        for part in parts[:-1]:
            folder = folder / part
            if folder in self._real:
                continue
            mode = _mode_of(folder)
            if mode is None:
                folder.mkdir(mode=0o755)
            elif not stat.S_ISDIR(mode):
                raise _RefusedError
            self._real.add(folder)
        return folder / parts[-1]

    def _check_hard_link(self, name: str) -> None:
        parts = _parts(name)
        mode = _mode_of(self._below_real_folders(parts)) if parts else None
        if mode is None or not stat.S_ISREG(mode) or parts[0] in self._reserved:
            raise _RefusedError

    def _make_room(self, target: Path, *, is_folder: bool) -> None:
        """Remove what a member replaces: written to as it stands, a link would be followed."""
        mode = _mode_of(target)
        if mode is None:
            return
        if stat.S_ISDIR(mode) != is_folder:
            raise _RefusedError
        if not is_folder:
            target.unlink()


def _parts(name: str) -> list[str]:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or (parts and not is_path("/".join(parts))):
        raise _RefusedError
    return parts


def _check_link(target: str, *, depth: int) -> None:
    parts = [part for part in target.split("/") if part not in ("", ".")]
    up = next((index for index, part in enumerate(parts) if part != ".."), len(parts))
    if target.startswith("/") or not target or len(target) > LINK_CHARS_MAX or up > depth or ".." in parts[up:]:
        raise _RefusedError


def _mode_of(path: Path) -> int | None:
    try:
        return os.lstat(path).st_mode
    except FileNotFoundError:
        return None
