"""The proxy as a process: hardened, quick to stop, its log free of secrets."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import orjson
from aiohttp import ClientSession, web

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
        await _ended(process)


async def test_it_stays_until_the_harness_has_left(tmp_path: Path) -> None:
    async def greet(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(f"echo {message.data}")
        return socket

    app = web.Application()
    app.router.add_get("/internal/v1/wake", greet)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    (tmp_path / "token").write_text("token")
    address = f"127.{os.getpid() % 250 + 1}.{os.getpid() // 250 % 250}.8"
    arguments = ["--server-url", f"http://127.0.0.1:{runner.addresses[0][1]}", "--token-file", str(tmp_path / "token")]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "managed_agents.proxy", *arguments, "--loopback", address, "--health-host", address),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30), ClientSession() as http:
            await process.stdout.readline()
            async with http.ws_connect(f"http://{address}:7301/internal/v1/wake") as harness:
                process.send_signal(signal.SIGTERM)
                while b'"stopping"' not in await process.stdout.readline():
                    pass
                await harness.send_str("going")
                assert await harness.receive_str() == "echo going"
            assert await process.wait() == 0
    finally:
        await _ended(process)
        await runner.cleanup()


async def _ended(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
        await process.wait()
