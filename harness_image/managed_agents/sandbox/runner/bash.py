"""The `bash` tool: arguments, timeouts, restarts and their wording around the persistent shell."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from managed_agents.sandbox.runner.children import Children
from managed_agents.sandbox.runner.environment import SessionEnvironment
from managed_agents.sandbox.runner.limits import BASH_TIMEOUT_SECONDS, BASH_TIMEOUT_SECONDS_MAX
from managed_agents.sandbox.runner.oom import NOTE, OomCounter
from managed_agents.sandbox.runner.shell import Shell, ShellTimeoutError
from managed_agents.sandbox.runner.spill import SpillFolder
from managed_agents.sandbox.runner.tools.arguments import parse_arguments
from managed_agents.sandbox.runner.tools.errors import ToolError

_RESET = "working directory, variables and background jobs were reset"


class Bash:
    """Holds the shell between calls. Calls must not overlap."""

    def __init__(
        self, children: Children, workdir: Path, spill: SpillFolder, oom: OomCounter, environment: SessionEnvironment
    ) -> None:
        self._environment = environment
        self._known: dict[str, str] = {}  # what the shell has of the session's variables
        self._children = children
        self._workdir = workdir
        self._spill = spill
        self._oom = oom
        self._shell: Shell | None = None
        self._ended_by: str | None = None

    async def call(self, call_id: str, arguments: Any) -> str:
        """Run one call. Raises `ToolError`; cancelled, it leaves no process of the shell behind."""
        parsed = parse_arguments("bash", arguments)
        if parsed["restart"]:
            return await self._restart()
        if not parsed["command"]:
            raise ToolError("bash: command is required")
        timeout = _timeout_seconds(parsed["timeout_ms"])
        shell, note = self._living_shell()
        struck = self._oom.read()
        try:
            captured = await shell.run(parsed["command"], timeout, lambda: self._spill.open(call_id), self._news())
        except ShellTimeoutError as error:
            self._ended_by = "was ended with the command that timed out"
            message = f"bash: bash command timed out after {timeout}s"
            raise ToolError(note + with_output(message, error.output)) from error
        except asyncio.CancelledError:
            self._ended_by = "was ended with the command that was interrupted"
            raise
        text = note + captured.text
        if self._oom.read() > struck:
            text = f"{text}\n[{NOTE}]".lstrip("\n")
        elif captured.exit_code is None and shell.killed:
            text = f"{text}\n[the shell itself was killed while the command ran]".lstrip("\n")
        if captured.exit_code != 0:
            raise ToolError(text)
        return text

    def interrupted_output(self) -> str:
        """Return what the command printed that a cancellation has just ended."""
        return "" if self._shell is None else self._shell.partial_output()

    async def close(self) -> None:
        """End the shell, if there is one."""
        if self._shell is not None and self._shell.ended is None:
            await self._shell.end()
        self._shell = None

    async def _restart(self) -> str:
        await self.close()
        self._start()
        return "bash session restarted"

    def _living_shell(self) -> tuple[Shell, str]:
        """Return a shell that can take a command, and a line for the result where it is a new one."""
        if self._shell is None:
            return self._start(), ""
        ended = self._shell.ended
        if ended is None:
            return self._shell, ""
        why = self._ended_by or ended
        return self._start(), f"[bash session restarted: the previous shell {why}; {_RESET}]\n"

    def _news(self) -> dict[str, str]:
        """Return the variables that the session has given since the shell began: it lives long, vaults change."""
        current = self._environment.variables()
        news = {name: value for name, value in current.items() if self._known.get(name) != value}
        self._known = current
        return news

    def _start(self) -> Shell:
        self._ended_by = None
        self._known = self._environment.variables()
        try:
            self._shell = Shell.start(self._children, self._workdir, self._environment.tools())
        except BlockingIOError as error:
            raise ToolError(
                "bash: no process can be started, the sandbox's process limit is reached; "
                "end what runs in the background with restart: true"
            ) from error
        except OSError as error:
            raise ToolError(f"bash: the shell cannot be started: {error}") from error
        return self._shell


def _timeout_seconds(timeout_ms: int | None) -> float:
    if not timeout_ms:
        return BASH_TIMEOUT_SECONDS
    if timeout_ms < 0:
        raise ToolError(f"bash: timeout_ms must be positive, not {timeout_ms}")
    return min(timeout_ms / 1000.0, BASH_TIMEOUT_SECONDS_MAX)


def with_output(message: str, output: str) -> str:
    """Return the message of a call that was ended, with what it had printed."""
    return f"{message}\n[output until then follows]\n{output}" if output else message
