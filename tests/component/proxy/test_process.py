"""The proxy as a process: hardened, quick to stop, its log free of secrets."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import orjson

from support.requirements import requirement

_PROBE = """
import ctypes, resource
from managed_agents.proxy.hardening import forbid_dumps
forbid_dumps()
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE))
"""


@requirement("A26")
def test_the_process_is_not_dumpable_and_leaves_no_core() -> None:
    done = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "0 (0, 0)\n"


async def test_it_serves_and_stops_at_sigterm(tmp_path: Path) -> None:
    address = f"127.{os.getpid() % 250 + 1}.{os.getpid() // 250 % 250}.7"  # ports are fixed, loopback has room
    arguments = ["--server-url", "http://127.0.0.1:1", "--loopback", address, "--health-host", address]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "managed_agents.proxy", *arguments, stdout=asyncio.subprocess.PIPE, cwd=tmp_path
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            first = orjson.loads(await process.stdout.readline())
            assert (first["event"], first["model"]) == ("serving", 7303)
            status = await asyncio.to_thread(lambda: urlopen(f"http://{address}:7300/healthz", timeout=5).status)
            assert status == 200
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
