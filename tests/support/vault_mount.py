"""A vault with one OAuth credential at a real server, and its session's file as operator and kubelet would keep it."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from managed_agents.kube.resources import Manifest
from managed_agents.operator.catalog.vaults import VaultReading, credentials_document, named_secrets, read_vault
from support.oauth_server import CLIENT, CLIENT_SECRET, OauthWorld
from support.server import TestServer
from support.waiting import until

HEADERS = {"anthropic-workspace-id": "team-a"}
MOUNT_SECONDS = 0.02


def oauth_credential(world: OauthWorld, *, scope: str = "tools", **changes: Any) -> dict[str, Any]:
    """Return a new grant as the API takes it. Changes: of the fields beside `refresh`."""
    tokens = world.grant()
    auth = {"type": world.client_auth}
    auth |= {} if world.client_auth == "none" else {"client_secret": CLIENT_SECRET}
    refresh = {
        "client_id": CLIENT,
        "token_endpoint": world.token_endpoint,
        "refresh_token": tokens.refresh_token,
        "token_endpoint_auth": auth,
        "resource": world.mcp.url,
        "scope": scope,
    }
    made = {"type": "mcp_oauth", "mcp_server_url": world.mcp.url, "access_token": tokens.access_token}
    return made | {"refresh": refresh} | changes


@dataclass
class Vault:
    """The vault, and the files of the sessions that name it."""

    server: TestServer
    id: str
    credential_id: str = ""
    files: dict[str, Path] = field(default_factory=dict)
    """By the session's id."""
    is_mounting: bool = True

    async def store(self, auth: dict[str, Any]) -> None:
        """Add the credential by the API."""
        path = f"/vaults/{self.id}/credentials"
        status, answer = await self.server.user("POST", path, {"auth": auth}, headers=HEADERS)
        assert status == 200, answer
        self.credential_id = answer["id"]

    async def update(self, auth: dict[str, Any]) -> dict[str, Any]:
        """Change it by the API."""
        path = f"/vaults/{self.id}/credentials/{self.credential_id}"
        status, answer = await self.server.user("POST", path, {"auth": auth}, headers=HEADERS)
        assert status == 200, answer
        self.mount()
        shown: dict[str, Any] = answer
        return shown

    async def shown(self) -> dict[str, Any]:
        """Return it as the API shows it."""
        path = f"/vaults/{self.id}/credentials/{self.credential_id}"
        status, answer = await self.server.user("GET", path, headers=HEADERS)
        assert status == 200, answer
        shown: dict[str, Any] = answer
        return shown

    def held(self) -> dict[str, str]:
        """Return what the Secret holds, by the key without its credential's name."""
        (secret,) = self.server.kube.list("secrets")
        data = secret.get("data") or {}
        return {key.rpartition(".")[2]: base64.b64decode(value).decode() for key, value in data.items()}

    def reading(self) -> VaultReading:
        """Read it as the operator does."""
        manifest = self._manifest()
        secrets = {item["metadata"]["name"]: item for item in self.server.kube.list("secrets")}
        found = {name: secrets.get(name) for name in named_secrets(manifest)}
        return read_vault(manifest, found, datetime.now(UTC))

    def mount(self) -> None:
        """Bring every session's file to what the Secret holds."""
        reading = self.reading()
        for session_id, file in self.files.items():
            session = {"metadata": {"generation": 1}}
            document = credentials_document(session, session_id, [reading])
            if not file.exists() or file.read_bytes() != document:
                fresh = file.with_suffix(".new")
                fresh.write_bytes(document)
                fresh.rename(file)

    def _manifest(self) -> Manifest:
        return next(item for item in self.server.kube.list("vaults") if self.id.endswith(_digits(item)))


@asynccontextmanager
async def vault_at(server: TestServer) -> AsyncIterator[Vault]:
    """Make a vault; files are mounted until the block ends, unless `is_mounting` is false."""
    status, answer = await server.user("POST", "/vaults", {"display_name": "team"}, headers=HEADERS)
    assert status == 200, answer
    vault = Vault(server, answer["id"])
    await until(lambda: server.objects.vaults.find(vault.id) is not None)

    async def mounting() -> None:
        while True:
            if vault.is_mounting:
                vault.mount()
            await asyncio.sleep(MOUNT_SECONDS)

    task = asyncio.create_task(mounting())
    try:
        yield vault
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _digits(manifest: Manifest) -> str:
    return str(manifest["metadata"]["uid"]).replace("-", "")
