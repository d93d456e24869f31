"""The proxy's calls to the server about grants (docs/internal-api.md): turns, new ones, what went wrong."""

from collections.abc import Mapping
from typing import Any, Protocol

import orjson
from aiohttp import ClientSession, ClientTimeout

from managed_agents.proxy.bindings import MalformedError
from managed_agents.proxy.errors import RefusedError
from managed_agents.proxy.forward import UnreachableError
from managed_agents.proxy.json_call import json_call
from managed_agents.proxy.server_access import ServerAccess

_TURN = ClientTimeout(total=3.0)
_WRITE = ClientTimeout(total=20.0)
"""Above what the server waits for the kube-apiserver."""


class StaleGrantError(Exception):
    """Another version of the grant is there by now."""


class NotKeptError(Exception):
    """The server will never take this grant: it is not kept by us, or no credential of the session any more."""


class ServerUnavailableError(Exception):
    """The server gave no answer, or one that may be another next time."""


class ServerGrants(Protocol):
    """What the server does for a grant of a session's vaults."""

    async def take_turn(self, session: str, credential: str, version: str) -> None:
        """Ask to be the one who renews. Raises: StaleGrantError, NotKeptError, ServerUnavailableError."""
        ...

    async def store(self, session: str, credential: str, grant: Mapping[str, str | None]) -> str:
        """Store a grant in the place of a version of it; return its own. Raises: as `take_turn`."""
        ...

    async def report(self, session: str, credential: str, problem: Mapping[str, str | None]) -> None:
        """Say why a version cannot be renewed, or that it can. Raises: as `take_turn`."""
        ...


class HttpServerGrants:
    """Calls the server as this Pod."""

    def __init__(self, client: ClientSession, server: ServerAccess) -> None:
        self._client = client
        self._server = server

    async def take_turn(self, session: str, credential: str, version: str) -> None:
        """Ask to be the one who renews."""
        await self._call("POST", f"{_path(session, credential)}/turn", {"version": version}, _TURN)

    async def store(self, session: str, credential: str, grant: Mapping[str, str | None]) -> str:
        """Store a grant."""
        answer = await self._call("PUT", f"{_path(session, credential)}/grant", grant, _WRITE)
        version = answer.get("version") if isinstance(answer, dict) else None
        if not isinstance(version, str):
            raise ServerUnavailableError
        return version

    async def report(self, session: str, credential: str, problem: Mapping[str, str | None]) -> None:
        """Report a problem."""
        await self._call("PUT", f"{_path(session, credential)}/problem", problem, _WRITE)

    async def report_probe(self, session: str, credential: str, finding: Mapping[str, Any]) -> None:
        """Say what a probe has found that the server asked for. Raises: as `take_turn`."""
        await self._call("PUT", f"{_path(session, credential)}/probe", finding, _WRITE)

    async def _call(self, method: str, path: str, body: Mapping[str, Any], timeout: ClientTimeout) -> object:
        try:
            return await json_call(
                self._client,
                method,
                self._server.url_for(path),
                headers=self._server.headers_for(),
                body=orjson.dumps(body),
                timeout=timeout,
            )
        except RefusedError as refusal:
            if refusal.status == 409:
                raise StaleGrantError from None
            if refusal.status in (400, 403, 404):
                raise NotKeptError from None
            raise ServerUnavailableError from None
        except (UnreachableError, MalformedError):
            raise ServerUnavailableError from None


def _path(session: str, credential: str) -> str:
    return f"/internal/v1/sessions/{session}/credentials/{credential}"
