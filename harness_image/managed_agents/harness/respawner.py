"""PID 1 of the harness container: imports everything once, then keeps one worker forked from itself alive.

Imports cost most of a second and most of the memory; a fork costs milliseconds and shares it. So a worker that is
killed is back before its lease is lost, where a killed container would meet the kubelet's back-off (design §3).
"""

import asyncio
import contextlib
import gc
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from managed_agents.harness.history.request import Body
from managed_agents.harness.model import MessagesModel, no_preview
from managed_agents.harness.readings import Readings
from managed_agents.harness.reply import Reply
from managed_agents.harness.retry import ModelFailureError
from managed_agents.harness.settings import Settings
from managed_agents.harness.worker import run_worker

_log = structlog.get_logger()

QUICK_DEATH_SECONDS = 5.0
"""A worker that lives longer has done something: its death starts no back-off."""

QUICK_DEATHS_FREE = 3
"""So many quick deaths in a row are answered at once; a node that kills twice is no crash loop."""

BACK_OFF_SECONDS = 0.2
BACK_OFF_CAP_SECONDS = 10.0

GRACE_SECONDS = 20.0
"""A worker that does not stop within this after SIGTERM is killed; the kubelet's own patience is 30 s."""

_WATCHED = frozenset({signal.SIGCHLD, signal.SIGTERM, signal.SIGINT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Deaths:
    """Quick deaths in a row. `pause_seconds` is how long to wait before the next worker."""

    quick: int = 0

    def after(self, lived_seconds: float) -> "Deaths":
        """Count one more death."""
        return Deaths(quick=self.quick + 1 if lived_seconds < QUICK_DEATH_SECONDS else 0)

    @property
    def pause_seconds(self) -> float:
        """Return 0 for the first few, then a doubling pause."""
        surplus = self.quick - QUICK_DEATHS_FREE
        return 0.0 if surplus <= 0 else min(BACK_OFF_SECONDS * 2.0 ** (surplus - 1), BACK_OFF_CAP_SECONDS)


class Respawner:
    """Keeps one worker alive. `work` is what a worker does; it runs in the child and returns its exit status."""

    def __init__(self, work: Callable[[], int]) -> None:
        self._work = work
        self._deaths = Deaths()

    def run(self) -> None:
        """Fork workers until SIGTERM or SIGINT, which the worker gets as SIGTERM and is waited for."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
        while self._may_fork():
            started = time.monotonic()
            worker = self._fork()
            status = self._wait(worker)
            if status is None:
                return
            lived = time.monotonic() - started
            self._deaths = self._deaths.after(lived)
            _log.info(
                "worker_ended", pid=worker, status=status, lived_seconds=round(lived, 3), quick=self._deaths.quick
            )

    def _fork(self) -> int:
        pid = os.fork()
        if pid == 0:
            # Nothing of the parent's stack may run in the child, whatever its work does.
            status = 1
            try:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)
                status = self._work()
            except BaseException:  # noqa: BLE001 - main of the worker
                _log.exception("worker_failed")
            finally:
                sys.stdout.flush()
                os._exit(status)
        return pid

    def _wait(self, worker: int) -> int | None:
        """Reap children until the worker has ended and return its status; null when told to stop."""
        while True:
            if (status := _reap(worker)) is not None:
                return status
            if signal.sigwait(_WATCHED) is not signal.SIGCHLD:
                self._stop(worker)
                return None

    def _stop(self, worker: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS
        while _reap(worker) is None:
            left = deadline - time.monotonic()
            if left <= 0 or signal.sigtimedwait({signal.SIGCHLD}, left) is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)
                return

    def _may_fork(self) -> bool:
        """Pause after repeated quick deaths. False: told to stop meanwhile."""
        pause = self._deaths.pause_seconds
        return pause == 0.0 or signal.sigtimedwait({signal.SIGTERM, signal.SIGINT}, pause) is None


def _reap(worker: int) -> int | None:
    """Reap every child that has ended, orphans that fell to PID 1 included; return the worker's status if it has."""
    found: int | None = None
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == worker:
                found = os.waitstatus_to_exitcode(status)
    return found


def _worker(settings: Settings, readings: Readings) -> int:
    async def until_told() -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine of asyncio.run has a task
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        # Stopping in the middle is handing over: all that matters is in the log, or in the sandbox's journal.
        with contextlib.suppress(asyncio.CancelledError):
            await run_worker(settings, readings)

    asyncio.run(until_told())
    return 0


async def _warm_up() -> None:
    """Pay for what is loaded on first use; nobody listens on the discard port, and a failing request loads it all."""
    async with MessagesModel(Settings(model_url="http://127.0.0.1:9")) as model:
        with contextlib.suppress(ModelFailureError):
            await model.stream(Body((b"{}",)), Reply(str), no_preview)


def main() -> None:
    """Run the harness until told to stop."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(),
    )
    asyncio.run(_warm_up())
    gc.collect()
    # Keeps the collector from touching, and so from copying, pages that all workers share.
    gc.freeze()
    _log.info("harness_ready", cpu_seconds=round(time.process_time(), 3))
    settings = Settings.from_environment()
    readings = Readings(Path(settings.readings_file) if settings.readings_file else None)
    Respawner(lambda: _worker(settings, readings)).run()
