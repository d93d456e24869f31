"""Runs a file tool in a forked process: it cannot block the runner, take its memory, or outlive a cancellation."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable
from typing import Any, NoReturn

from managed_agents.sandbox.runner.children import Children, be_killed_first, end_session
from managed_agents.sandbox.runner.limits import READ_CHUNK_BYTES
from managed_agents.sandbox.runner.oom import NOTE, OomCounter
from managed_agents.sandbox.runner.tools.errors import ToolError

Output = Any  # JSON: text, or content blocks


async def run_isolated(
    tool: str, work: Callable[[], Output], timeout: float, children: Children, oom: OomCounter
) -> Output:
    """Return what `work` returns. Raises the `ToolError` it raises, or one that says how its process ended."""
    struck = oom.read()
    read_end, write_end = os.pipe()
    try:
        pid = os.fork()
    except OSError as error:
        os.close(read_end)
        os.close(write_end)
        raise ToolError(
            f"{tool}: no process can be started ({(error.strerror or 'error').lower()}); "
            "end what runs in the background with the bash tool's restart: true"
        ) from error
    if pid == 0:
        _in_child(work, write_end)
    exited = children.expect(pid)
    os.close(write_end)
    try:
        payload = await _read_all(read_end, timeout)
        await asyncio.wait({exited}, timeout=timeout)
    except TimeoutError:
        raise ToolError(f"tool {tool!r} timed out") from None
    finally:
        os.close(read_end)
        if not exited.done():
            await end_session(pid)
    return _outcome(tool, payload, exited.result() if exited.done() else -9, oom.read() > struck)


def _outcome(tool: str, payload: bytes, status: int, oom_struck: bool) -> Output:
    if status == 0:
        kind, value = json.loads(payload)
        if kind == "error":
            raise ToolError(value)
        return value
    if status == -signal.SIGKILL and oom_struck:
        raise ToolError(f"{tool}: {NOTE}")
    how = f"was killed by signal {-status}" if status < 0 else f"failed with status {status}"
    raise ToolError(f"{tool}: the tool's process {how}")


async def _read_all(fd: int, timeout: float) -> bytes:
    """Read to the end of the stream. Raises `asyncio.TimeoutError`."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    received = bytearray()

    def on_readable() -> None:
        chunk = os.read(fd, READ_CHUNK_BYTES)
        received.extend(chunk)
        if not chunk and not ended.done():
            ended.set_result(None)

    loop.add_reader(fd, on_readable)
    try:
        await asyncio.wait_for(ended, timeout)
    finally:
        loop.remove_reader(fd)
    return bytes(received)


def _in_child(work: Callable[[], Output], write_end: int) -> NoReturn:
    """The forked process: no event loop, no descriptor but its pipe, a session of its own; it never returns."""
    status = 1
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        be_killed_first()
        _close_all_but(write_end)
        _write_all(write_end, json.dumps(_result_of(work)).encode("ascii"))
        status = 0
    finally:
        os._exit(status)


def _result_of(work: Callable[[], Output]) -> tuple[str, Output]:
    try:
        return "ok", work()
    except ToolError as error:
        return "error", str(error)
    except MemoryError:
        return "error", "the tool ran out of memory"


def _close_all_but(kept: int) -> None:
    """Close what was inherited, above all the supervisor's socket: an open copy would hide the runner's death."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names are all that is wanted
        fd = int(name)
        if fd > 2 and fd != kept:
            try:
                os.close(fd)
            except OSError:  # the listing's own descriptor
                continue


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
