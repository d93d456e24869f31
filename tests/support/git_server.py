"""Repositories over HTTP as a forge serves them: `git http-backend` behind a server on loopback, and a REST API."""

import asyncio
import base64
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from support.certificates import certificate_for, server_context

CLOSED_SECONDS_MAX = 5.0


@dataclass
class GitServer:
    """Serves the repositories of a folder. Below `/private` it asks for a token, below `/forbidden` it refuses.

    With a certificate it speaks TLS, under the name `host`.
    """

    folder: Path
    port: int = 0
    host: str = "localhost"
    certificate: str = ""
    tokens: set[str] = field(default_factory=set)
    """Those that open what is private; such a caller may push, too."""
    status: int = 0
    """Answer everything with this status."""
    redirect: str = ""
    """Answer everything with a redirect to this URL."""
    requests: list[str] = field(default_factory=list)
    seen: list[dict[str, str]] = field(default_factory=list)
    """The headers of each request, by names in lower case."""

    def url(self, name: str) -> str:
        scheme = "https" if self.certificate else "http"
        return f"{scheme}://{self.host}:{self.port}/{name}"

    def make(self, name: str) -> str:
        """Make a repository with two commits and a branch `other`; return the first commit."""
        path = self.folder / name
        path.mkdir(parents=True)
        (path / "README").write_text("first\n")
        _git(path, "init", "-q", "-b", "main")
        _git(path, "config", "receive.denyCurrentBranch", "ignore")
        _git(path, "config", "http.receivepack", "true")
        _git(path, "add", ".")
        _git(path, "commit", "-q", "-m", "first")
        first = _git(path, "rev-parse", "HEAD")
        (path / "README").write_text("second\n")
        _git(path, "commit", "-q", "-a", "-m", "second")
        _git(path, "branch", "other", first)
        return first

    def branch(self, name: str, count: int) -> None:
        """Add branches, each with a commit of its own."""
        path = self.folder / name
        tree = _git(path, "rev-parse", "HEAD^{tree}")
        for number in range(count):
            made = _git(path, "commit-tree", tree, "-m", f"commit {number}")
            _git(path, "branch", f"branch-{number}", made)

    def head(self, name: str, ref: str) -> str:
        """Return the subject of a ref's commit; empty where there is none."""
        return _git(self.folder / name, "for-each-ref", "--format=%(contents:subject)", ref)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer once a connection: closing one with TLS takes the peer's answer, and so a loop that still runs."""
        response = await self._answer(request)
        response.force_close()
        return response

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request.raw_path)
        self.seen.append({name.lower(): value for name, value in request.headers.items()})
        body = await request.read()
        if self.redirect:
            return web.Response(status=302, headers={"Location": self.redirect})
        if self.status:
            return web.Response(status=self.status, text=f"you sent {dict(request.headers)}")
        top = request.path.split("/")[1]
        if top in {"private", "api"} and not self._is_known(request):
            return web.Response(status=401, headers={"WWW-Authenticate": "Basic realm=git"})
        if top == "api":
            said = {"method": request.method, "path": request.raw_path, "body": body.decode()}
            return web.json_response({**said, "headers": dict(request.headers)})
        if top == "forbidden":
            return web.Response(status=403)
        return await self._backend(request, body)

    def _is_known(self, request: web.Request) -> bool:
        scheme, _, value = request.headers.get("Authorization", "").partition(" ")
        if scheme == "Basic":
            value = base64.b64decode(value).decode().partition(":")[2]
        return value in self.tokens

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
async def git_server(folder: Path, *, tls: str = "") -> AsyncIterator[GitServer]:
    """Serve a folder of repositories, where a name is given over TLS."""
    made, context = GitServer(folder, host=tls or "localhost"), None
    if tls:
        made.certificate, key = certificate_for(tls)
        context = server_context(made.certificate, key)
    app = web.Application(client_max_size=2**26)
    app.router.add_route("*", "/{path:.*}", made.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1, auto_decompress=False)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    made.port = runner.addresses[0][1]
    try:
        yield made
    finally:
        server = runner.server
        await runner.cleanup()
        async with asyncio.timeout(CLOSED_SECONDS_MAX):
            while server is not None and server.connections:  # noqa: ASYNC110 - a connection tells nobody
                await asyncio.sleep(0.01)


def _git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()
