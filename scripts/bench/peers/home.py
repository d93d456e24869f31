"""Where the peers are installed, and how one of their programs is run."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from bench.results import folder

PACKAGES = ("dbos>=3,<4", "langgraph>=1.2,<2", "langgraph-checkpoint-sqlite>=3,<4", "litellm[proxy]>=1.108,<2")
INSTALL_SECONDS = 900
PROGRAM_SECONDS = 180
START_SECONDS = 90.0
STOP_SECONDS = 10.0


def installed() -> Path:
    """Return the folder of programs of the environment; make it where it is not there, or not of these packages."""
    where = folder() / "peers"
    stamp, wanted = where / ".installed", "\n".join(PACKAGES)
    if not stamp.exists() or stamp.read_text() != wanted:
        where.parent.mkdir(parents=True, exist_ok=True)
        for command in _commands(where):
            subprocess.run(command, check=True, timeout=INSTALL_SECONDS)
        stamp.write_text(wanted)
    return where / "bin"


def _commands(where: Path) -> Sequence[Sequence[str]]:
    uv = shutil.which("uv")
    if uv is not None:
        python = str(where / "bin" / "python")
        make = [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(where)]
        return (make, [uv, "pip", "install", "--quiet", "--python", python, *PACKAGES])
    install = [str(where / "bin" / "pip"), "install", "--quiet", *PACKAGES]
    return ([sys.executable, "-m", "venv", "--clear", str(where)], install)


async def said_by(program: Path, *arguments: str) -> str:
    """Run a Python program with the peers' interpreter; return the last line that it prints."""
    python = await asyncio.to_thread(installed) / "python"
    command = (str(python), str(program), *arguments)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, env=environment())
    async with asyncio.timeout(PROGRAM_SECONDS):
        output, _ = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"{program.name} ended with {process.returncode}")
    return output.decode().splitlines()[-1]


def environment(**more: str) -> Mapping[str, str]:
    """Return the variables of a peer's process: none of ours, and no telemetry."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "ANTHROPIC_"))}
    silent = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False", "LANGSMITH_TRACING": "false"}
    return {**kept, **silent, **more}


@asynccontextmanager
async def serving(*command: str, variables: Mapping[str, str] | None = None) -> AsyncIterator[None]:
    """Run a server until the block ends."""
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*command, stdout=quiet, stderr=quiet, env=variables)
    try:
        yield
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
