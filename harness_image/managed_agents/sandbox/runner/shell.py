"""The persistent bash: directory, variables and background jobs survive from call to call."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from managed_agents.sandbox.runner.capture import Capture, Captured
from managed_agents.sandbox.runner.children import Children, end_session
from managed_agents.sandbox.runner.limits import READ_CHUNK_BYTES
from managed_agents.sandbox.runner.spill import SpillFile

_REAP_SECONDS = 2.0
_DRAIN_BYTES_MAX = 16 * 1024 * 1024  # after the shell's end, what a still living job may add before we stop listening
# A process may not raise its own score once it runs user code, so the shell is started through one that does.
_START = 'echo 1000 2>/dev/null >/proc/self/oom_score_adj; exec "$0" --noprofile --norc'


class ShellTimeoutError(Exception):
    """The command did not end in time; its shell and all it started were ended. Holds the output until then."""

    def __init__(self, output: str) -> None:
        super().__init__(output)
        self.output = output


class Shell:
    """One bash process, in a session of its own, read continuously so that no background job ever blocks on output."""

    def __init__(self, process: subprocess.Popen[bytes], children: Children) -> None:
        self._loop = asyncio.get_running_loop()
        self._process = process
        self._exited = children.expect(process.pid)
        self._exited.add_done_callback(self._on_exit)
        self._capture = Capture()
        self._finished: asyncio.Future[None] | None = None
        self._unwritten = b""
        assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018 - both are pipes
        self._stdin, self._stdout = process.stdin.fileno(), process.stdout.fileno()
        for fd in (self._stdin, self._stdout):
            os.set_blocking(fd, False)
        self._loop.add_reader(self._stdout, self._on_readable)

    @classmethod
    def start(cls, children: Children, workdir: Path, environment: Mapping[str, str]) -> Shell:
        """Start a shell. Raises `OSError` where no process can be started."""
        bash = "/bin/bash" if Path("/bin/bash").exists() else shutil.which("bash") or "/bin/bash"
        process = subprocess.Popen(
            [bash, "-c", _START, bash],
            cwd=workdir,
            env={**environment, "PS1": "", "PS2": "", "TERM": "dumb"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        return cls(process, children)

    @property
    def ended(self) -> str | None:
        """How the shell ended, in words; `None` while it lives."""
        if not self._exited.done():
            return None
        status = self._exited.result()
        return f"was killed by signal {-status}" if status < 0 else f"had exited with status {status}"

    @property
    def killed(self) -> bool:
        """Whether SIGKILL ended the shell."""
        return self._exited.done() and self._exited.result() == -9

    async def run(
        self,
        command: str,
        timeout: float,
        open_spill: Callable[[], SpillFile],
        variables: Mapping[str, str] | None = None,
    ) -> Captured:
        """Run a command to its end, or to the shell's. Raises `ShellTimeoutError`; cancelled, it ends the shell too.

        `variables` are set in the shell first.
        """
        marker = f"__MA_CMD_{uuid.uuid4().hex}_DONE__"
        self._capture.expect(marker.encode(), open_spill)
        self._finished = self._loop.create_future()
        try:
            self._write(script_for(command, marker, variables or {}))
            ends: set[asyncio.Future[Any]] = {self._finished, self._exited}
            done, _ = await asyncio.wait(ends, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                await self.end()
                raise ShellTimeoutError(self._take().text)
            return self._take()
        except asyncio.CancelledError:
            await self.end()
            raise
        finally:
            self._finished = None

    def partial_output(self) -> str:
        """Return what a cancelled command had printed."""
        return self._take().text

    def _take(self) -> Captured:
        captured, rest = self._capture.finish()
        self._capture = Capture()
        self._capture.feed(rest)
        return captured

    async def end(self) -> None:
        """End the shell and everything in its session."""
        await end_session(self._process.pid)
        await asyncio.wait({self._exited}, timeout=_REAP_SECONDS)

    def _write(self, script: bytes) -> None:
        self._unwritten = script
        self._on_writable()
        if self._unwritten:
            self._loop.add_writer(self._stdin, self._on_writable)

    def _on_writable(self) -> None:
        try:
            self._unwritten = self._unwritten[os.write(self._stdin, self._unwritten) :]
        except BlockingIOError:
            return
        except OSError:  # the shell is gone; its exit status says the rest
            self._unwritten = b""
        if not self._unwritten:
            self._loop.remove_writer(self._stdin)

    def _on_readable(self) -> bool:
        try:
            chunk = os.read(self._stdout, READ_CHUNK_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            chunk = b""
        if not chunk:
            self._loop.remove_reader(self._stdout)
            return False
        if self._capture.feed(chunk) and self._finished is not None and not self._finished.done():
            self._finished.set_result(None)
        return True

    def _on_exit(self, exited: asyncio.Future[int]) -> None:
        """Take what the shell left in the pipe and close it; a job that outlives its shell is not listened to."""
        self._process.returncode = None if exited.cancelled() else exited.result()
        left = _DRAIN_BYTES_MAX
        while left > 0 and self._on_readable():
            left -= READ_CHUNK_BYTES
        self._loop.remove_reader(self._stdout)
        self._loop.remove_writer(self._stdin)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()


def script_for(command: str, marker: str, variables: Mapping[str, str] | None = None) -> bytes:
    """Return what the shell reads: variables to set, the command, then a line of the marker and the exit code.

    `eval` of a single word, where the SDK writes the command between braces: a command with a syntax error or an open
    quote then fails by itself, instead of ending the shell or swallowing the marker. It is written on one line and
    followed by as many blank ones as the SDK's form would have, so that error messages name the same line numbers.
    """
    printed = f"printf '\\n{marker[:8]}''{marker[8:]}%d\\n' $?"
    blank = "\n" * (command.count("\n") + 1)
    exports = "".join(f"export {name}={_ansi_quoted(value)}; " for name, value in (variables or {}).items())
    return f"{exports}eval {_ansi_quoted(command)} </dev/null 2>&1; {printed}\n{blank}".encode("utf-8", "replace")


def _ansi_quoted(text: str) -> str:
    escaped = text.replace("\0", "").replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"$'{escaped}'"
