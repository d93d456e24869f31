"""Repositories over HTTP as a forge serves them: `git http-backend` behind a server on loopback."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web


@dataclass
class GitServer:
    """Serves the repositories of a folder. Below `/private` it asks for credentials, below `/forbidden` it refuses."""

    folder: Path
    port: int = 0
    requests: list[str] = field(default_factory=list)

    def url(self, name: str) -> str:
        return f"http://localhost:{self.port}/{name}"

    def make(self, name: str) -> str:
        """Make a repository with two commits and a branch `other`; return the first commit."""
        path = self.folder / name
        path.mkdir(parents=True)
        (path / "README").write_text("first\n")
        _git(path, "init", "-q", "-b", "main")
        _git(path, "add", ".")
        _git(path, "commit", "-q", "-m", "first")
        first = _git(path, "rev-parse", "HEAD")
        (path / "README").write_text("second\n")
        _git(path, "commit", "-q", "-a", "-m", "second")
        _git(path, "branch", "other", first)
        return first

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request.path)
        top = request.path.split("/")[1]
        if top == "private":
            return web.Response(status=401, headers={"WWW-Authenticate": "Basic realm=git"})
        if top == "forbidden":
            return web.Response(status=403)
        return await self._backend(request, await request.read())

    async def _backend(self, request: web.Request, body: bytes) -> web.Response:
        variables = {
            "GIT_PROJECT_ROOT": str(self.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "PATH_INFO": request.path,
            "QUERY_STRING": request.query_string,
            "REQUEST_METHOD": request.method,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
            "CONTENT_LENGTH": str(len(body)),
            "PATH": "/usr/bin:/bin",
        }
        process = await asyncio.create_subprocess_exec(
            *("git", "http-backend"), env=variables, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate(body)
        head, _, content = output.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        status = int(headers.pop("Status", "200 OK").split(" ")[0])
        return web.Response(status=status, headers=headers, body=content)


@asynccontextmanager
async def git_server(folder: Path) -> AsyncIterator[GitServer]:
    """Serve a folder of repositories."""
    made = GitServer(folder)
    app = web.Application(client_max_size=2**24)
    app.router.add_route("*", "/{path:.*}", made.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.port = runner.addresses[0][1]
    try:
        yield made
    finally:
        await runner.cleanup()


def _git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()
