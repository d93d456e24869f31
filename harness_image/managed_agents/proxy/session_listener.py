"""The server's calls for the harness: passes the few that the contract names and adds the Pod's token (port 7301)."""

from typing import Final

from aiohttp import ClientSession, ClientTimeout, web
from multidict import CIMultiDict

from managed_agents.proxy.appends import tell
from managed_agents.proxy.errors import RefusedError
from managed_agents.proxy.files.outputs import Outputs
from managed_agents.proxy.forward import UnreachableError, Upstream, forward
from managed_agents.proxy.server_access import ServerAccess
from managed_agents.proxy.settings import CONNECT_SECONDS, SERVER_SILENCE_SECONDS
from managed_agents.proxy.wake import WakeRelay

_TIMEOUT = ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SERVER_SILENCE_SECONDS)
_SESSION: Final = "/internal/v1/sessions/{session:[A-Za-z0-9_]+}"
_FILE: Final = "{file:[A-Za-z0-9_-]+}"
_POD: Final = "{pod:[a-z0-9][a-z0-9.-]*}"


class SessionListener:
    """Handlers of the harness' calls to the server. The sandbox claim is not among them: it is the proxy's own."""

    def __init__(self, client: ClientSession, server: ServerAccess, wake: WakeRelay, outputs: Outputs) -> None:
        self._client = client
        self._server = server
        self._wake = wake
        self._outputs = outputs

    def routes(self) -> list[web.RouteDef]:
        """Return what this listener serves."""
        return [
            web.get("/internal/v1/wake", self._relay, allow_head=False),
            web.get(_SESSION, self._forward, allow_head=False),
            web.get(f"{_SESSION}/events", self._forward, allow_head=False),
            web.post(f"{_SESSION}/events", self._emit),
            web.post(f"{_SESSION}/release", self._release),
            web.get(f"{_SESSION}/files/{_FILE}/content", self._forward, allow_head=False),
            web.get(f"{_SESSION}/sandbox/{_POD}", self._forward, allow_head=False),
            web.post(f"{_SESSION}/sandbox", refuse_claim),
        ]

    async def _relay(self, request: web.Request) -> web.StreamResponse:
        return await self._wake.relay(request, self._server.url_for(request.raw_path), self._headers(request))

    async def _emit(self, request: web.Request) -> web.StreamResponse:
        """Forward events; those that end or open a turn say when to look for outputs, beside the answer."""
        body = await request.read()
        response = await self._forward(request)
        if response.status == 200:
            tell(self._outputs, body)
        return response

    async def _release(self, request: web.Request) -> web.StreamResponse:
        await self._outputs.last_look()
        return await self._forward(request)

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        upstream = Upstream(
            method=request.method,
            url=self._server.url_for(request.raw_path),
            headers=self._headers(request),
            body=await request.read(),
            timeout=_TIMEOUT,
        )
        try:
            return await forward(request, self._client, upstream)
        except UnreachableError as problem:
            raise RefusedError(503, "unavailable", f"the server is unreachable: {problem}") from None

    def _headers(self, request: web.Request) -> CIMultiDict[str]:
        return self._server.headers_for(request.headers)


async def refuse_claim(_request: web.Request) -> web.StreamResponse:
    """Refuse what would hand the binding's secrets to the harness."""
    advice = "call POST /v1/hands/sandbox/provision on the hand listener (port 7302)"
    raise RefusedError(403, "forbidden", f"the sandbox claim is the proxy's own call; {advice}")
