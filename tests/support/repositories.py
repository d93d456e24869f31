"""A sandbox's git and HTTP client, the proxy's gateway and a forge behind TLS, on this machine."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import orjson
from yarl import URL

from managed_agents.contracts.egress import EgressRules
from managed_agents.contracts.repositories import git_address
from managed_agents.proxy.egress import Egress
from managed_agents.proxy.egress_request import HEAD_BYTES_MAX
from managed_agents.proxy.egress_rules import Networking
from managed_agents.proxy.repositories.serving import Repositories, repositories_of
from managed_agents.proxy.settings import Settings
from support.egress import Names
from support.git_server import GitServer

WAIT_SECONDS = 20.0
OPEN = {"environment": {"config": {"networking": {"type": "unrestricted"}}}}


@dataclass(frozen=True, slots=True)
class Said:
    """How a git command ended."""

    status: int
    text: str


@dataclass
class Gateway:
    """The gateway under test, with the file of its grants and a client in the sandbox's place."""

    forge: GitServer
    names: Names
    repositories: Repositories
    folder: Path
    file: Path
    port: int = 0
    outputs: list[str] = field(default_factory=list)
    """All that git and the API said."""

    def grant(self, *entries: dict[str, Any]) -> None:
        """Write the credentials file as the kubelet does: another one in the old one's place."""
        fresh = self.file.with_suffix(".new")
        fresh.write_bytes(orjson.dumps({"session_id": "sesn_1", "credentials": [], "repositories": entries}))
        fresh.rename(self.file)

    async def git(self, *arguments: str, folder: Path | None = None) -> Said:
        """Run git as a tool does, with the addresses of the session's repositories in its config."""
        variables = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "http_proxy": f"http://127.0.0.1:{self.port}",
            "https_proxy": f"http://127.0.0.1:{self.port}",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": "agent",
            "GIT_AUTHOR_EMAIL": "agent@example.com",
            "GIT_COMMITTER_NAME": "agent",
            "GIT_COMMITTER_EMAIL": "agent@example.com",
        }
        process = await asyncio.create_subprocess_exec(
            *("git", *arguments),
            env=variables,
            cwd=folder or self.folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(WAIT_SECONDS):
            output, _ = await process.communicate()
        self.outputs.append(output.decode("utf-8", "replace"))
        return Said(process.returncode or 0, self.outputs[-1])

    async def stand_in(self, name: str) -> None:
        """Make git use the session's address of a repository, as the sandbox does before a clone."""
        url = self.forge.url(name)
        done = await self.git("config", "--global", f"url.{git_address(url)}.insteadOf", url)
        assert done.status == 0, done.text

    async def raw(self, method: str, url: str, *headers: str, body: bytes = b"") -> bytes:
        """Send one request through the HTTP proxy and return the answer as it came."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        lines = [f"{method} {url} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers, "", ""]
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                writer.write("\r\n".join(lines).encode() + body)
                await writer.drain()
                answer = await reader.read()
        finally:
            writer.close()
        self.outputs.append(answer.decode("latin-1"))
        return answer


@asynccontextmanager
async def gateway_running(folder: Path, forge: GitServer, **rules: Any) -> AsyncIterator[Gateway]:
    """Run a gateway whose administrator lets it reach the forge on loopback and trusts its certificate."""
    loopback = (ip_network("127.0.0.0/8"),)
    usual = EgressRules(ports=(forge.port,), allowed=loopback, authorities=(forge.certificate,))
    egress_rules = replace(usual, **rules)
    names, file = Names(), folder / "credentials.json"
    names.known[forge.host] = ["127.0.0.1"]
    settings = Settings(server_url=URL("http://server"), credentials_file=file, egress=egress_rules)

    async def networking() -> Networking:
        return Networking(is_limited=False)

    async with repositories_of(settings, names.resolve) as repositories:
        repositories.configure(OPEN)
        egress = Egress(egress_rules, names.resolve, repositories.inner)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await egress.serve((reader, writer), networking)

        server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=HEAD_BYTES_MAX)
        made = Gateway(forge, names, repositories, folder, file, server.sockets[0].getsockname()[1])
        try:
            yield made
        finally:
            server.close()
            await server.wait_closed()
