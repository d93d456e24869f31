"""Lets the supervisor, another user of the same group, read what the tools leave.

Programs that write a private temporary file and rename it leave a mode of 0600: an output that nobody would get.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

ENTRIES_MAX = 2_000  # looked at after one call, so that a huge tree cannot hold the runner up


def share(folder: Path) -> None:
    """Make regular files readable, and folders passable, for the group; what cannot be changed stays as it is."""
    folders, left = [str(folder)], ENTRIES_MAX
    while folders and left > 0:
        with suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                left -= 1
                if left < 0:
                    return
                if _open_up(entry):
                    folders.append(entry.path)


def _open_up(entry: os.DirEntry[str]) -> bool:
    """Return whether it is a folder to look into."""
    with suppress(OSError):
        mode = entry.stat(follow_symlinks=False).st_mode
        needed = stat.S_IRGRP | stat.S_IXGRP if stat.S_ISDIR(mode) else stat.S_IRGRP if stat.S_ISREG(mode) else 0
        if mode & needed != needed:
            os.chmod(entry.path, stat.S_IMODE(mode) | needed)  # noqa: PTH101 - of a scandir entry
        return stat.S_ISDIR(mode)
    return False
