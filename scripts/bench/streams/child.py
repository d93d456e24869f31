"""A server in a process of its own, told what to do by lines of JSON: so its memory is its own and can be measured."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

Command = Callable[[Mapping[str, Any]], Awaitable[Any]]

ANSWER_SECONDS = 120.0
STOP_SECONDS = 20.0
LINE_BYTES_MAX = 64 * 1024 * 1024


def usage() -> dict[str, float]:
    """Return this process's resident memory in bytes, and the CPU seconds that it took so far."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {"rss": pages * os.sysconf("SC_PAGE_SIZE"), "cpu": time.process_time()}


async def obey(ready: Any, commands: Mapping[str, Command]) -> None:
    """Answer commands from standard input, one line each, until it closes. `ready` is the first line."""
    loop = asyncio.get_running_loop()
    _say(ready)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        asked = json.loads(line)
        _say(await commands[asked["do"]](asked))


def _say(value: Any) -> None:
    print("@" + json.dumps(value), flush=True)


class Child:
    """The other end: a child process and what it said when it was ready."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        if process.stdin is None or process.stdout is None:
            raise ValueError("a child needs both pipes")
        self._process = process
        self._stdin, self._stdout = process.stdin, process.stdout
        self.ready: Any = None

    async def stop(self) -> None:
        """Let it end by itself, and kill it when it does not."""
        self._stdin.close()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._process.communicate()
        except TimeoutError:
            self._process.kill()
            await self._process.communicate()

    async def do(self, command: str, **arguments: Any) -> Any:
        """Send a command and return the answer."""
        self._stdin.write(json.dumps({"do": command, **arguments}).encode() + b"\n")
        return await self.answer()

    async def answer(self) -> Any:
        """Return the next answer; other lines, such as logs, are passed over."""
        async with asyncio.timeout(ANSWER_SECONDS):
            while line := await self._stdout.readline():
                if line.startswith(b"@"):
                    return json.loads(line[1:])
        raise RuntimeError(f"the child ended with {await self._process.wait()}")


@asynccontextmanager
async def child(module: str, *arguments: str) -> AsyncIterator[Child]:
    """Run a module as a child until the block ends."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LINE_BYTES_MAX,
    )
    running = Child(process)
    try:
        running.ready = await running.answer()
        yield running
    finally:
        await running.stop()
