"""A whole sandbox on this machine: supervisor and runner as two processes with folders of their own."""

import asyncio
import hashlib
import json
import os
import signal
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TOKEN = "one-time-token-of-this-sandbox"
SECRET = "secret-of-this-binding"
WAIT_SECONDS = 5.0


@dataclass(frozen=True)
class Answer:
    """A response of the supervisor."""

    status: int
    body: dict[str, Any]

    @property
    def text(self) -> str:
        """The text of a result's first block."""
        text: str = self.body["content"][0]["text"]
        return text

    @property
    def error(self) -> str:
        """The type of an error."""
        kind: str = self.body["error"]["type"]
        return kind


async def exchange(port: int, raw: bytes) -> Answer:
    """Send bytes on a connection of their own and read one response."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=64 * 1024 * 1024)
    try:
        writer.write(raw)
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        length = next(int(line.split(":")[1]) for line in lines if line.lower().startswith("content-length:"))
        return Answer(int(lines[0].split(" ")[1]), json.loads(await reader.readexactly(length)))
    finally:
        writer.close()


def request_bytes(method: str, path: str, body: Any = None, **headers: str) -> bytes:
    payload = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: sandbox", f"Content-Length: {len(payload)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + payload


@dataclass
class Sandbox:
    """Both processes and a client of the bound session."""

    folder: Path
    runner_python: str = sys.executable
    arguments: tuple[str, ...] = ()
    port: int = 0
    relay_port: int = 0
    variables: dict[str, str] = field(default_factory=dict)
    supervisor: asyncio.subprocess.Process | None = None
    runner: asyncio.subprocess.Process | None = None
    log: list[dict[str, Any]] = field(default_factory=list)
    _reading: asyncio.Task[None] | None = None

    @property
    def workdir(self) -> Path:
        return self.folder / "workspace"

    async def start_supervisor(self) -> None:
        self.supervisor = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "managed_agents.sandbox.supervisor", "--host", "127.0.0.1", "--port", "0"),
            *("--relay-port", "0"),
            *("--uploads", str(self.folder / "uploads"), "--outputs", str(self.folder / "outputs")),
            *("--token-sha256", hashlib.sha256(TOKEN.encode()).hexdigest(), "--journal", str(self.folder / "journal")),
            *("--runner-file", str(self.folder / "code" / "runner.pyz"), "--socket", str(self.folder / "s" / "r.sock")),
            *self.arguments,
            stdout=asyncio.subprocess.PIPE,
        )
        listening = await self._line_with("listening")
        self.port, self.relay_port = listening["port"], listening["relay_port"]
        self._reading = asyncio.create_task(self._read_log())

    async def _line_with(self, event: str) -> dict[str, Any]:
        assert self.supervisor is not None
        assert self.supervisor.stdout is not None
        async with asyncio.timeout(WAIT_SECONDS):
            while line := await self.supervisor.stdout.readline():
                record: dict[str, Any] = json.loads(line)
                self.log.append(record)
                if record["event"] == event:
                    return record
        raise AssertionError(f"the supervisor ended without {event!r}: {self.log}")

    async def _read_log(self) -> None:
        assert self.supervisor is not None
        assert self.supervisor.stdout is not None
        while line := await self.supervisor.stdout.readline():
            self.log.append(json.loads(line))

    async def start_runner(self) -> None:
        for name in ("workspace", "outputs", "uploads"):
            (self.folder / name).mkdir(exist_ok=True)
        self.runner = await asyncio.create_subprocess_exec(
            *(self.runner_python, "-IS", str(self.folder / "code" / "runner.pyz")),
            *("--socket", str(self.folder / "s" / "r.sock"), "--workdir", str(self.workdir)),
            *("--root", str(self.folder / "outputs"), "--read-only-root", str(self.folder / "uploads")),
            *("--outputs", str(self.folder / "outputs"), "--spill-dir", str(self.folder / "spill")),
            *("--trust-file", str(self.folder / "trust" / "ca-bundle.crt")),
            env={
                **os.environ,
                **self._network(),
                **self.variables,
                "ANTHROPIC_API_KEY": "canary",
                "KUBERNETES_SERVICE_HOST": "canary",
            },
            cwd=self.workdir,
        )
        await self.wait_runner(present=True)

    def _network(self) -> dict[str, str]:
        """The relay for every host, this one included: a test's destinations are here."""
        relay = f"http://127.0.0.1:{self.relay_port}"
        names = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
        return {**dict.fromkeys(names, relay), "NO_PROXY": "", "no_proxy": ""}

    async def wait_runner(self, *, present: bool) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while (await self.get("/healthz")).body.get("runner") is not present:  # noqa: ASYNC110 - of another process
                await asyncio.sleep(0)

    async def kill(self, which: str, number: int = signal.SIGKILL) -> None:
        process = getattr(self, which)
        process.send_signal(number)
        async with asyncio.timeout(WAIT_SECONDS):
            await process.wait()
        setattr(self, which, None)

    async def close(self) -> None:
        for which in ("runner", "supervisor"):
            if getattr(self, which) is not None:
                await self.kill(which, signal.SIGTERM)
        if self._reading is not None:
            await self._reading

    async def get(self, path: str, **headers: str) -> Answer:
        return await exchange(self.port, request_bytes("GET", path, **headers))

    async def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        return await exchange(self.port, request_bytes("POST", path, body, **headers))

    async def bind(self, *, bearer: str = TOKEN, **fields: Any) -> Answer:
        body = {"session": "sesn_1", "epoch": 1, "name": "default", "secret": SECRET, "resources": {}, **fields}
        return await self.post("/bind", body, Authorization=f"Bearer {bearer}")

    async def execute(self, call_id: str, name: str, epoch: int = 1, secret: str = SECRET, **arguments: Any) -> Answer:
        body = {"tool_use_id": call_id, "name": name, "input": arguments}
        return await self.post("/execute", body, Authorization=f"Bearer {secret}", X_Epoch=str(epoch))

    async def bash(self, call_id: str, command: str, **arguments: Any) -> Answer:
        return await self.execute(call_id, "bash", command=command, **arguments)

    async def lookup(self, call_id: str, epoch: int = 1) -> Answer:
        return await self.get(f"/calls/{call_id}", Authorization=f"Bearer {SECRET}", X_Epoch=str(epoch))

    async def cancel(self, call_id: str, epoch: int = 1) -> Answer:
        return await self.post(f"/calls/{call_id}/cancel", Authorization=f"Bearer {SECRET}", X_Epoch=str(epoch))

    async def wait_file(self, name: str) -> None:
        """Wait for a file that a command makes in the working directory."""
        async with asyncio.timeout(WAIT_SECONDS):
            while not (self.workdir / name).exists():  # noqa: ASYNC110 - of another process
                await asyncio.sleep(0.005)


def new_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="ma-"))  # short: a socket's path has at most 107 bytes
