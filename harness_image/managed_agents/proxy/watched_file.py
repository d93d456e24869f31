"""A mounted file that is parsed again whenever it changes, so that a rotation needs no restart (F23).

The kubelet replaces the files of a Secret or token volume by swapping a symbolic link, so inode and time change. One
`stat` a request costs microseconds and, unlike a watch, cannot miss a change.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

Value = TypeVar("Value")

LOOK_SECONDS = 0.05
"""Between two looks at a file that is waited for: nobody tells that the kubelet wrote it."""


async def comes(is_there: Callable[[], bool], *, seconds: float) -> bool:
    """Look until what is waited for is there, at most so long; tell whether it is. Raises: what the look does."""
    try:
        async with asyncio.timeout(seconds):
            while not is_there():  # noqa: ASYNC110 - a file tells nobody
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        return False
    return True


class WatchedFile(Generic[Value]):
    """Keeps the parsed content of one file and the stamp it was read at."""

    def __init__(self, path: Path, parse: Callable[[bytes], Value]) -> None:
        self._path = path
        self._parse = parse
        self._kept: tuple[tuple[int, int, int], Value] | None = None

    def read(self) -> Value:
        """Return the current content.

        Never an old one: a file that is gone or broken raises again at each call. Raises: OSError when the file cannot
        be read, and what `parse` raises.
        """
        status = self._path.stat()
        stamp = (status.st_mtime_ns, status.st_ino, status.st_size)
        if self._kept is not None and self._kept[0] == stamp:
            return self._kept[1]
        self._kept = None
        value = self._parse(self._path.read_bytes())
        # Stamped before it was read: a change in between is seen at the next call.
        self._kept = (stamp, value)
        return value
