"""Finds the sandbox that a session has already, for a proxy that was not there when it was claimed."""

from aiohttp import ClientSession, ClientTimeout

from managed_agents.proxy.bindings import Binding, MalformedError, Wanted
from managed_agents.proxy.errors import RefusedError
from managed_agents.proxy.forward import UnreachableError
from managed_agents.proxy.json_call import json_call
from managed_agents.proxy.sandbox_ends import Claims, Supervisor
from managed_agents.proxy.server_access import ServerAccess
from managed_agents.proxy.settings import CONNECT_SECONDS

_TIMEOUT = ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=CONNECT_SECONDS)


class SandboxFinder:
    """Knows the lease of this Pod's harness, and binds its session's sandbox where there is one."""

    def __init__(self, client: ClientSession, server: ServerAccess, claims: Claims, supervisor: Supervisor) -> None:
        self._client = client
        self._server = server
        self._claims = claims
        self._supervisor = supervisor
        self._lease: tuple[str, int] | None = None
        self._had_none = False

    def leased(self, session: str, epoch: int) -> None:
        """Note the lease."""
        self._lease, self._had_none = (session, epoch), False

    @property
    def session(self) -> str | None:
        """Return the session that this Pod was last leased."""
        return None if self._lease is None else self._lease[0]

    async def is_idle(self) -> bool:
        """Tell whether the session is known to be idle."""
        if self._lease is None:
            return False
        url = self._server.url_for(f"/internal/v1/sessions/{self._lease[0]}")
        try:
            answer = await json_call(self._client, "GET", url, headers=self._server.headers_for(), timeout=_TIMEOUT)
        except (RefusedError, UnreachableError, MalformedError):
            return False
        return isinstance(answer, dict) and answer.get("status") == "idle"

    async def find(self) -> Binding | None:
        """Bind the sandbox that is there; none is made, and null returned where there is none to be had.

        The server is asked until it has said once that there is none: under this lease only this Pod can get one, and
        then knows its binding. So a session without a sandbox costs its turns no call.
        """
        if self._lease is None or self._had_none:
            return None
        session, epoch = self._lease
        wanted = Wanted(session=session, epoch=epoch, name="default", wait_seconds=0, existing=True)
        try:
            claimed = await self._claims.claim(wanted)
            if not isinstance(claimed, Binding):
                self._had_none = self._lease == (session, epoch)
                return None
            await self._supervisor.bind(claimed)
        except (RefusedError, UnreachableError, MalformedError):
            return None
        return claimed
