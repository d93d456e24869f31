"""A file that comes in: written piece by piece as its bytes come, on the thread for files."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from functools import partial

from managed_agents.sandbox.supervisor.errors import ContractError
from managed_agents.sandbox.supervisor.file_thread import FileThread

WRITE_BYTES = 1024 * 1024


async def receive(file: int, size: int, chunks: AsyncIterator[bytes], thread: FileThread) -> None:
    """Write a body into an open file, and close it. Raises 408 and `OSError`, also where not `size` bytes came."""
    buffer = bytearray()
    try:
        async for chunk in chunks:
            buffer += chunk
            if len(buffer) >= WRITE_BYTES:
                data, buffer = bytes(buffer), bytearray()
                await thread.run(partial(_write_all, file, data))
        await thread.run(partial(_write_all, file, bytes(buffer)))
        if (written := os.fstat(file).st_size) != size:
            raise OSError(f"{written} bytes of {size} came")
    except TimeoutError:  # an OSError, but no disk's
        raise ContractError(408, "request_timeout", "the rest of the body did not come in time") from None
    finally:
        await thread.run(lambda: os.close(file))


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
