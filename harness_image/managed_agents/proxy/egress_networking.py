"""What the session's Environment says of the network, asked of the server: never of the harness or the sandbox."""

import asyncio

from aiohttp import ClientSession, ClientTimeout

from managed_agents.proxy.bindings import MalformedError
from managed_agents.proxy.egress import NetworkingOf, UndecidedError
from managed_agents.proxy.egress_rules import Networking, networking_from
from managed_agents.proxy.errors import RefusedError
from managed_agents.proxy.forward import UnreachableError
from managed_agents.proxy.json_call import json_call
from managed_agents.proxy.server_access import ServerAccess
from managed_agents.proxy.settings import CONNECT_SECONDS

_TIMEOUT = ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=CONNECT_SECONDS)


class SessionNetworking:
    """Reads a session's config once per binding: an Environment's change reaches new sandboxes only (API §4.4)."""

    def __init__(self, client: ClientSession, server: ServerAccess) -> None:
        self._client = client
        self._server = server

    def for_session(self, session: str) -> NetworkingOf:
        """Return a reader that remembers its first answer."""
        lock = asyncio.Lock()
        known: list[Networking] = []

        async def networking() -> Networking:
            async with lock:
                if not known:
                    known.append(await self._read(session))
            return known[0]

        return networking

    async def _read(self, session: str) -> Networking:
        url = self._server.url_for(f"/internal/v1/sessions/{session}")
        try:
            answer = await json_call(self._client, "GET", url, headers=self._server.headers_for(), timeout=_TIMEOUT)
        except (UnreachableError, MalformedError, RefusedError) as problem:
            raise UndecidedError(f"what this environment allows is not known now: {problem}") from None
        config = answer.get("config") if isinstance(answer, dict) else None
        environment = config.get("environment") if isinstance(config, dict) else None
        if not isinstance(environment, dict) or not isinstance(environment.get("config"), dict):
            raise UndecidedError("what this environment allows is not known: the session has no environment")
        return networking_from(environment["config"])
