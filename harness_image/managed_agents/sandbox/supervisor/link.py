"""The supervisor's end of the socket: one runner at a time, which is not trusted to keep to the protocol."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from managed_agents.sandbox.runner.frames import Frame, FrameError, encode, read_frame
from managed_agents.sandbox.supervisor.logs import log

RESULT_FRAME_BYTES_MAX = 32 * 1024 * 1024  # the largest PDF in base64, and some room
HELLO_SECONDS = 5.0


class RunnerEvents(Protocol):
    """Who is told what the runner says."""

    def runner_connected(self, boot_id: str, running: frozenset[str]) -> None:
        """A runner said hello: the same as before (same boot id), or one of a restarted container."""

    def runner_lost(self) -> None:
        """The connection ended; the same runner may come back within moments."""

    def runner_result(self, frame: Frame) -> None:
        """The runner sent a result, for the first time or again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """The first frame of a connection."""

    boot_id: str
    running: frozenset[str]


class RunnerLink:
    """Listens for the runner. A second connection is refused while the first lives: it could only be user code."""

    def __init__(self, path: Path, greeting: Callable[[], list[Frame]] = list) -> None:
        """`greeting` gives what a runner is told before any call."""
        self._path = path
        self._greeting = greeting
        self._server: asyncio.Server | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._events: RunnerEvents | None = None
        self.boot_id: str | None = None
        self._came = asyncio.Event()
        self._sending = asyncio.Lock()

    @property
    def connected(self) -> bool:
        """Whether a runner is there."""
        return self._came.is_set()

    async def start(self, events: RunnerEvents) -> None:
        """Listen. The socket takes the folder's group, which both containers have; nobody else may connect."""
        self._events = events
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            self._path.unlink()
        mask = os.umask(0o117)
        try:
            self._server = await asyncio.start_unix_server(self._serve, str(self._path))
        finally:
            os.umask(mask)

    async def close(self) -> None:
        """Stop listening and drop the runner; it goes on and will connect again."""
        if self._server is not None:
            self._server.close()
        if self._writer is not None:
            self._writer.close()

    async def wait_connected(self, seconds: float) -> bool:
        """Wait for a runner; false when none came in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._came.wait()
        return self.connected

    async def send(self, frame: Frame) -> bool:
        """Send a frame; false where there is no runner to take it."""
        writer = self._writer
        if writer is None:
            return False
        async with self._sending:
            with suppress(OSError):  # the reading side notices too, and settles what was on its way
                writer.write(encode(frame))
                await writer.drain()
        return True

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._writer is not None:
            log("warning", "runner connection refused", reason="a runner is connected already")
            writer.close()
            return
        self._writer = writer
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                hello = parse_hello(await read_frame(reader, RESULT_FRAME_BYTES_MAX))
            writer.writelines(encode(frame) for frame in self._greeting())
            self._connected(hello)
            while True:
                self._received(await read_frame(reader, RESULT_FRAME_BYTES_MAX))
        except FrameError as error:
            log("warning", "runner broke the protocol", reason=str(error))
        except (OSError, asyncio.IncompleteReadError):  # OSError includes the hello's timeout
            log("info", "runner disconnected")
        finally:
            self._disconnected(writer)

    def _connected(self, hello: Hello) -> None:
        log("info", "runner connected", boot_id=hello.boot_id, running=len(hello.running))
        self.boot_id = hello.boot_id
        self._tell(lambda events: events.runner_connected(hello.boot_id, hello.running))
        self._came.set()

    def _received(self, frame: Frame) -> None:
        if frame["op"] != "result":
            raise FrameError(f"unexpected {frame['op']!r}")
        self._tell(lambda events: events.runner_result(frame))

    def _disconnected(self, writer: asyncio.StreamWriter) -> None:
        writer.close()
        self._writer = None
        if self.connected:
            self._came.clear()
            self._tell(lambda events: events.runner_lost())

    def _tell(self, what: Callable[[RunnerEvents], None]) -> None:
        if self._events is not None:
            what(self._events)


def parse_hello(frame: dict[str, Any]) -> Hello:
    """Return the first frame's content. Raises `FrameError`."""
    boot_id, running = frame.get("boot_id"), frame.get("running")
    if frame["op"] != "hello" or not isinstance(boot_id, str) or not 0 < len(boot_id) <= 64:
        raise FrameError("the first frame is not a hello with a boot id")
    if not isinstance(running, list) or not all(isinstance(call_id, str) for call_id in running):
        raise FrameError("hello without a list of running calls")
    return Hello(boot_id=boot_id, running=frozenset(running))
