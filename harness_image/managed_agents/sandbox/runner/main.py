"""Command line of the runner, and its connection to the supervisor."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import uuid
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from managed_agents.sandbox.runner.children import Children, protect_self
from managed_agents.sandbox.runner.dispatch import Dispatcher
from managed_agents.sandbox.runner.environment import TRUST_FILE, SessionEnvironment
from managed_agents.sandbox.runner.frames import Frame, FrameError, encode, read_frame
from managed_agents.sandbox.runner.limits import RECONNECT_SECONDS, RECONNECT_SECONDS_MAX
from managed_agents.sandbox.runner.oom import OomCounter
from managed_agents.sandbox.runner.share import share
from managed_agents.sandbox.runner.spill import SpillFolder
from managed_agents.sandbox.runner.tools.paths import Roots
from managed_agents.sandbox.runner.toolset import Toolset

STOPPED_STATUS = 128 + signal.SIGTERM
"""A sandbox is never complete, it is stopped. Of containers that exit 0 the kubelet makes a Pod that has succeeded, and
forgets in doing so that it was evicted."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM. Returns the exit status."""
    options = parser().parse_args(arguments)
    protect_self()
    asyncio.run(Runner(options).serve())
    return STOPPED_STATUS


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    made = argparse.ArgumentParser(prog="runner", description="PID 1 of a sandbox's tools container.")
    made.add_argument("--socket", type=Path, default=Path("/managed-agents-socket/runner.sock"))
    made.add_argument("--workdir", type=Path, default=Path("/workspace"))
    made.add_argument("--root", type=Path, action="append", help="another directory the file tools may reach")
    made.add_argument("--read-only-root", type=Path, action="append", help="one they may reach but not change")
    made.add_argument("--outputs", type=Path, default=DEFAULT_ROOTS[0], help="where files are left for the session")
    made.add_argument("--spill-dir", type=Path, default=Path("/tmp/tool-output"), help="where long outputs are kept")  # noqa: S108 - of the sandbox, which has one user
    made.add_argument("--trust-file", type=Path, default=TRUST_FILE, help="where the tools find whom to trust")
    return made


DEFAULT_ROOTS = (Path("/mnt/session/outputs"), Path("/mnt/memory"))
DEFAULT_READ_ONLY_ROOTS = (Path("/mnt/session/uploads"),)


def roots_of(options: argparse.Namespace) -> Roots:
    """Return what the file tools may reach. Kept outputs may be read, like any other read-only root."""
    writable = tuple(options.root) if options.root is not None else DEFAULT_ROOTS
    read_only = tuple(options.read_only_root) if options.read_only_root is not None else DEFAULT_READ_ONLY_ROOTS
    return Roots(options.workdir, (*writable, *read_only, options.spill_dir), (*read_only, options.spill_dir))


class Runner:
    """Keeps one connection to the supervisor and outlives its loss: calls go on, results wait."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._socket: Path = options.socket
        self._roots = roots_of(options)
        self._outputs: Path = options.outputs
        self._spill = SpillFolder(options.spill_dir)
        self._environment = SessionEnvironment(options.trust_file)
        self._writer: asyncio.StreamWriter | None = None

    async def serve(self) -> None:
        """Serve until SIGTERM or SIGINT, then end all processes started here."""
        children = Children()
        toolset = Toolset(self._roots, self._spill, children, OomCounter(), self._environment)
        dispatcher = Dispatcher(
            toolset, uuid.uuid4().hex, self._publish, partial(share, self._outputs), self._environment.given
        )
        connecting = asyncio.ensure_future(self._keep_connected(dispatcher))
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        await stopped.wait()
        connecting.cancel()
        await asyncio.wait({connecting})
        await dispatcher.close()
        children.close()
        if os.getpid() == 1:
            _signal_everything(signal.SIGTERM)

    def _publish(self, frame: Frame) -> None:
        """Send at once where there is a connection; what is not acknowledged is sent again on the next."""
        if self._writer is not None:
            self._writer.write(encode(frame))

    async def _keep_connected(self, dispatcher: Dispatcher) -> None:
        delay = RECONNECT_SECONDS
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(str(self._socket))
            except OSError:
                await asyncio.sleep(delay)
                delay = min(2 * delay, RECONNECT_SECONDS_MAX)
                continue
            delay = RECONNECT_SECONDS
            await self._converse(dispatcher, reader, writer)
            await asyncio.sleep(delay)

    async def _converse(
        self, dispatcher: Dispatcher, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            for frame in dispatcher.hello():
                writer.write(encode(frame))
            self._writer = writer
            while True:
                dispatcher.handle(await read_frame(reader))
        except (OSError, asyncio.IncompleteReadError, FrameError):
            return
        finally:
            self._writer = None
            writer.close()


def _signal_everything(number: int) -> None:
    """As PID 1: signal every other process of the container; the kernel kills what is left when we end."""
    try:
        os.kill(-1, number)
    except ProcessLookupError:
        return
