"""`python -m managed_agents.operator` in a process of its own, against a fake kube-apiserver."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml

WAIT_SECONDS = 40.0
"""Importing kopf and both clients takes about two seconds on a busy machine."""


@dataclass(kw_only=True)
class OperatorProcess:
    process: asyncio.subprocess.Process
    lines: list[str] = field(default_factory=list)
    spoke: asyncio.Event = field(default_factory=asyncio.Event)

    async def says(self, word: str) -> None:
        """Wait until a log line holds a word."""
        async with asyncio.timeout(WAIT_SECONDS):
            while not any(word in line for line in self.lines):
                self.spoke.clear()
                await self.spoke.wait()

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it; return its exit status."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(how)
        async with asyncio.timeout(WAIT_SECONDS):
            return await self.process.wait()


def write_kubeconfig(path: Path, url: str) -> None:
    """Point a kubeconfig at a plain HTTP address."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "fake", "cluster": {"server": url}}],
        "users": [{"name": "me", "user": {"token": "kube-token"}}],
        "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "me"}}],
        "current-context": "fake",
    }
    path.write_text(yaml.safe_dump(document))


@contextlib.asynccontextmanager
async def operator_process(
    tmp_path: Path, *, kube_url: str, server_url: str, token_path: Path, identity: str = "operator-0"
) -> AsyncIterator[OperatorProcess]:
    """Start it; it is killed at the end if it still runs."""
    kubeconfig = tmp_path / f"kubeconfig-{identity}"
    write_kubeconfig(kubeconfig, kube_url)
    arguments = ["--server-url", server_url, "--server-token-path", str(token_path), "--health-port", "0"]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "managed_agents.operator",
        *arguments,
        "--identity",
        identity,
        env={**image_environment(tmp_path / "image"), "KUBECONFIG": str(kubeconfig)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    started = OperatorProcess(process=process)
    reader = asyncio.create_task(_read(started))
    try:
        yield started
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await reader


def image_environment(folder: Path) -> dict[str, str]:
    """Return the variables with which Python is as in the image.

    It holds no Kubernetes client libraries, which kopf would import for seconds, and its uid has no name, for which
    kopf asks when nobody gives it an identity.
    """
    for name in ("kubernetes", "kubernetes_asyncio"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "__init__.py").write_text(f"raise ImportError('{name} is not in the image')\n")
    (folder / "sitecustomize.py").write_text(_NAMELESS)
    kept = {name: value for name, value in os.environ.items() if name not in _USER_VARIABLES}
    return {**kept, "PYTHONPATH": str(folder)}


_USER_VARIABLES = ("LOGNAME", "USER", "LNAME", "USERNAME")
"""Where getpass.getuser() looks before it asks for the uid's entry."""

_NAMELESS = """
import pwd

def getpwuid(uid):
    raise KeyError(f"getpwuid(): uid not found: {uid}")

pwd.getpwuid = getpwuid
"""


async def _read(started: OperatorProcess) -> None:
    stream = started.process.stdout
    assert stream is not None
    async for line in stream:
        started.lines.append(line.decode().rstrip())
        started.spoke.set()
