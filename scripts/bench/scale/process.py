"""A program that runs until the bench ends, its log, and what it uses: resident memory and CPU seconds of /proc."""

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.world.processes import ticks_of

STOP_SECONDS = 15.0
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What one process holds and has spent so far."""

    rss_bytes: int
    cpu_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A started program."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def has_ended(self) -> bool:
        """Tell whether it ended by itself."""
        return self.process.poll() is not None

    def used(self) -> Used:
        """Return what it uses now. Raises: OSError when it has ended."""
        folder = Path(f"/proc/{self.process.pid}")
        rss = int((folder / "statm").read_text().split()[1]) * _PAGE
        return Used(rss_bytes=rss, cpu_seconds=ticks_of((folder / "stat").read_text()) / _TICKS)

    def tail(self) -> str:
        """Return the end of its log."""
        return self.log.read_text(errors="replace")[-2000:]

    def stop(self) -> None:
        """End it, and wait until it has ended."""
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(STOP_SECONDS)


def started(name: str, command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> Program:
    """Start a program whose output goes to `NAME.log` of the folder, after what is there."""
    log = folder / f"{name}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=None if environment is None else {**os.environ, **environment},
        )
    return Program(name=name, process=process, log=log)


@contextmanager
def running(
    name: str, command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Program]:
    """Run a program until the block ends."""
    program = started(name, command, folder, environment)
    try:
        yield program
    finally:
        program.stop()
