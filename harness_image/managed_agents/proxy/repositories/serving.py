"""The gateway as a part of the proxy: its way in from the egress, its connections, its place in the audit log."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from managed_agents.contracts.repositories import API_HOST, GIT_HOST
from managed_agents.proxy.audit import audited
from managed_agents.proxy.egress import Inner
from managed_agents.proxy.errors import internal_envelope
from managed_agents.proxy.judging_resolver import Resolve
from managed_agents.proxy.repositories.dialling import client_for
from managed_agents.proxy.repositories.gateway import RepositoryGateway
from managed_agents.proxy.repositories.grants import FileGrants, parse_grants
from managed_agents.proxy.repositories.inlet import Inlet
from managed_agents.proxy.settings import Settings
from managed_agents.proxy.watched_file import WatchedFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Repositories:
    """What the rest of the proxy sees of the gateway."""

    gateway: RepositoryGateway
    inner: Inner

    def configure(self, config: Mapping[str, Any], *, is_lease: bool = False) -> None:
        """Take in a session config; with a lease, what was told is told again."""
        self.gateway.configure(config)
        if is_lease:
            self.gateway.missing.leased()


@asynccontextmanager
async def repositories_of(settings: Settings, resolve: Resolve) -> AsyncIterator[Repositories]:
    """Serve the session's repositories until the block ends."""
    async with client_for(settings.egress, resolve) as client:
        grants = FileGrants(WatchedFile(settings.credentials_file, parse_grants))
        gateway = RepositoryGateway(client, settings.egress, grants)
        app = web.Application(middlewares=[audited("repositories", internal_envelope)])
        app.add_routes(gateway.routes())
        inlet = Inlet(app)
        await inlet.open()
        try:
            yield Repositories(gateway=gateway, inner={GIT_HOST: inlet.connect, API_HOST: inlet.connect})
        finally:
            await inlet.close()
