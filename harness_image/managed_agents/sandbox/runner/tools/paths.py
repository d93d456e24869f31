"""Which paths the file tools may reach: resolved first, then compared with the allowed roots."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path, PurePath
from stat import S_ISLNK

from managed_agents.sandbox.runner.limits import SYMLINK_HOPS_MAX
from managed_agents.sandbox.runner.tools.errors import ToolError, fs_reason

_MISSING = (errno.ENOENT, errno.ENOTDIR)


@dataclass(frozen=True)
class Roots:
    """Where relative paths begin, what else may be reached, and which of all that may not be changed."""

    workdir: Path
    others: tuple[Path, ...] = ()
    read_only: tuple[Path, ...] = ()

    def resolve(self, path: str) -> Path:
        """Return the canonical path of what the model named. Raises `ValueError` where it lies outside the roots."""
        candidate = Path(path)
        root = self.workdir.resolve()
        try:
            full = canonicalize(candidate if candidate.is_absolute() else root / candidate)
        except OSError as error:
            raise ValueError(f"path {path!r}: {fs_reason(error)}") from error
        if within(full, root) or any(within(full, other.resolve()) for other in self.others):
            return full
        if self.others:
            raise ValueError(
                f"path {path!r} is outside the session's working directory and its other permitted directories"
            )
        raise ValueError(f"path {path!r} is outside the session's working directory")

    def refuse_read_only(self, target: Path, *, tool: str, file_path: str) -> None:
        """Raise `ToolError` where a resolved target lies in a directory that may not be changed."""
        for root in self.read_only:
            if within(target, root.resolve()):
                raise ToolError(f"{tool}: {file_path} is inside read-only directory {root}")

    def may_reach(self, path: str) -> bool:
        """Whether a program at `path` could have been put there by the file tools; true where that is not known."""
        try:
            real = Path(path).resolve(strict=True)
            roots = [canonicalize(root.resolve()) for root in (self.workdir, *self.others)]
        except (OSError, RuntimeError):
            return True
        return any(within(real, root) for root in roots)


def within(child: PurePath, root: PurePath) -> bool:
    """Whether `child` is `root` or inside it, both resolved already."""
    return child.parts[: len(root.parts)] == root.parts


def _loop_error() -> OSError:
    return OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def canonicalize(path: Path) -> Path:
    """Return `path` with `.` and `..` collapsed by spelling, then every symbolic link followed.

    Components that do not exist yet stay as spelled; a dangling link is followed, so that nothing can be created
    through it outside the roots. Raises `OSError`; never returns a path that is resolved in part.
    """
    prefix = Path(os.path.normpath(str(path)))
    missing: list[str] = []
    hops = 0
    while True:
        try:
            return _strict(prefix).joinpath(*reversed(missing))
        except OSError as error:
            if error.errno not in _MISSING:
                raise
            unresolved = error
        if not _exists_here(prefix):
            missing.append(prefix.name)
            prefix = prefix.parent
            continue
        if not S_ISLNK(os.lstat(prefix).st_mode):
            raise unresolved
        hops += 1
        if hops > SYMLINK_HOPS_MAX:
            raise _loop_error()
        target = os.path.join(_strict(prefix.parent), os.readlink(prefix), *reversed(missing))  # noqa: PTH115, PTH118
        prefix = Path(os.path.normpath(target))
        missing.clear()


def _strict(path: Path) -> Path:
    try:
        return path.resolve(strict=True)
    except RuntimeError:  # Python before 3.13 reports a loop of links this way
        raise _loop_error() from None


def _exists_here(prefix: Path) -> bool:
    """Whether the name itself exists, be it a dangling link. Raises what is not a plain absence."""
    try:
        os.lstat(prefix)
    except OSError as error:
        if error.errno not in _MISSING or prefix.parent == prefix:
            raise
        return False
    return True
