"""One thread for the files that come and go, so that a slow disk never holds up an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class FileThread:
    """Runs blocking calls one after the other."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="files")
        self._thread.submit(int).result()  # starts the thread now: later the Pod may have none left

    async def run(self, work: Callable[[], T]) -> T:
        """Return what a call returns."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def close(self) -> None:
        """Finish what was begun."""
        self._thread.shutdown()
