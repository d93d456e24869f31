"""Starting, ending and reaping processes, as PID 1 must: every orphan of the container becomes ours."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
from contextlib import suppress
from pathlib import Path

from managed_agents.sandbox.runner.limits import KILL_GRACE_SECONDS

_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_POLL_SECONDS = 0.02
_KILL_ROUNDS_MAX = 50


def protect_self() -> None:
    """Keep other processes of the same uid out of this one's memory, and adopt orphans where we are not PID 1."""
    _prctl(_PR_SET_DUMPABLE, 0)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def be_killed_first() -> None:
    """In a forked child: ask the out-of-memory killer to take this process before the runner."""
    _prctl(_PR_SET_DUMPABLE, 1)  # else our own /proc entries belong to root
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _prctl(option: int, value: int) -> None:
    with suppress(OSError, AttributeError):  # a libc without it: an older or foreign one; nothing depends on this
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


class Children:
    """Reaps all children on SIGCHLD and tells the one who waits for a pid its exit status."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.waiting: dict[int, asyncio.Future[int]] = {}
        self._loop.add_signal_handler(signal.SIGCHLD, self.reap)

    def close(self) -> None:
        """Stop reaping."""
        self._loop.remove_signal_handler(signal.SIGCHLD)

    def expect(self, pid: int) -> asyncio.Future[int]:
        """Return the future exit status of a child just started: an exit code, or minus the signal's number.

        Must be called before the event loop runs again, or the child may have been reaped unseen.
        """
        future: asyncio.Future[int] = self._loop.create_future()
        self.waiting[pid] = future
        return future

    def reap(self) -> None:
        """Reap whatever has ended, adopted orphans included."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self.tell(pid, exit_status(status))

    def tell(self, pid: int, status: int) -> None:
        """Tell who waits for a process that it ended, if anybody does."""
        future = self.waiting.pop(pid, None)
        if future is not None and not future.done():
            future.set_result(status)


def exit_status(status: int) -> int:
    """Turn a wait status into an exit code, or minus the number of the signal that ended the process."""
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


async def end_session(session: int, grace_seconds: float = KILL_GRACE_SECONDS) -> None:
    """End all processes of a session: SIGTERM, the grace, SIGKILL until none is left.

    What moved to a session of its own (`setsid`) is not of it and lives on.
    """
    _signal_all(session, signal.SIGTERM)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + grace_seconds
    while loop.time() < deadline:
        if not members(session):
            return
        await asyncio.sleep(_POLL_SECONDS)
    for _ in range(_KILL_ROUNDS_MAX):  # a fork bomb has new members each time, in the group that killpg takes at once
        _signal_all(session, signal.SIGKILL)
        if not members(session):
            return
        await asyncio.sleep(_POLL_SECONDS)


def _signal_all(session: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(session, number)
    for pid in members(session):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def members(session: int) -> list[int]:
    """Return the living processes of a session; zombies are not living."""
    entries = os.listdir("/proc")  # noqa: PTH208 - names are all that is wanted, and there may be thousands
    return [int(entry) for entry in entries if entry.isdigit() and _session_of(entry) == session]


def _session_of(pid: str) -> int | None:
    try:
        stat = Path("/proc", pid, "stat").read_bytes()
    except OSError:
        return None
    # "pid (name) state ppid pgrp session": the name may hold spaces and parentheses.
    state, _, _, session = stat[stat.rindex(b")") + 2 :].split(b" ", 4)[:4]
    return None if state in (b"Z", b"X") else int(session)
