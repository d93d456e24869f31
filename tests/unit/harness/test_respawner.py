"""PID 1 with real processes: a killed worker is replaced, orphans are reaped, SIGTERM ends both."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from support.requirements import requirement

pytestmark = pytest.mark.slow  # whole processes

PROGRAM = """
import os, signal, subprocess, sys
from pathlib import Path
from managed_agents.harness.readings import Readings
from managed_agents.harness.respawner import Respawner

readings = Readings({file})

def work():
    gives_up = readings.begin("sesn_1")
    print("worker", os.getpid(), "gives up" if gives_up else "", flush=True)
    {work}
    return 0

Respawner(work).run()
print("stopped", flush=True)
"""

PAUSE = "signal.signal(signal.SIGTERM, lambda *_: os._exit(0)); signal.pause()"


@asynccontextmanager
async def respawner(work: str, file: Path | None = None) -> AsyncIterator[asyncio.subprocess.Process]:
    program = PROGRAM.format(work=work, file=f"Path({str(file)!r})" if file else None)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(30):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def next_worker(process: asyncio.subprocess.Process) -> int:
    assert process.stdout is not None
    while line := await process.stdout.readline():
        if line.startswith(b"worker "):
            return int(line.split()[1])
    raise AssertionError("the respawner ended")


async def test_killed_worker_is_replaced() -> None:
    async with respawner(PAUSE) as process:
        first = await next_worker(process)
        os.kill(first, signal.SIGKILL)
        second = await next_worker(process)

        assert second != first
        process.terminate()
        assert await process.wait() == 0


async def test_worker_that_ends_or_fails_is_replaced() -> None:
    async with respawner("raise RuntimeError('no')") as process:
        assert len({await next_worker(process) for _ in range(3)}) == 3


@requirement("F11")
async def test_sigterm_reaches_the_worker_and_is_waited_for() -> None:
    async with respawner(PAUSE) as process:
        worker = await next_worker(process)
        process.terminate()
        assert process.stdout is not None
        assert (await process.stdout.read()).endswith(b"stopped\n")
        assert await process.wait() == 0
        with pytest.raises(ProcessLookupError):
            os.kill(worker, 0)


DIE_READING = "gives_up or os.kill(os.getpid(), signal.SIGKILL); readings.end()"
DIE_READING_WITH_ALL = f"gives_up or os.kill(os.getppid(), signal.SIGKILL); {DIE_READING}"
"""As the kernel kills a container that exceeds its memory: PID 1 among the others."""


@requirement("F10")
async def test_worker_that_dies_reading_a_log_three_times_is_followed_by_one_that_gives_up() -> None:
    async with respawner(DIE_READING) as process:
        assert process.stdout is not None
        lines = [line async for line, _ in _take(process.stdout, 5)]

    # The one that gave up left the session alone, so that the next input is tried again.
    assert [line.endswith(b"gives up\n") for line in lines] == [False, False, False, True, False]


@requirement("F10")
async def test_container_that_is_killed_whole_three_times_is_followed_by_one_that_gives_up(tmp_path: Path) -> None:
    gave_up = []
    for _ in range(4):
        async with respawner(DIE_READING_WITH_ALL, tmp_path / "readings") as process:
            assert process.stdout is not None
            gave_up += [line.endswith(b"gives up\n") async for line, _ in _take(process.stdout, 1)]
            if not gave_up[-1]:
                await process.wait()

    assert gave_up == [False, False, False, True]


async def _take(stream: asyncio.StreamReader, count: int) -> AsyncIterator[tuple[bytes, int]]:
    while count:
        line = await stream.readline()
        if line.startswith(b"worker "):
            yield line, count
            count -= 1
