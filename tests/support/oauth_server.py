"""An OAuth authorization server and an MCP server that wants its tokens, both of the official package, on loopback.

Refresh tokens are taken once: one that comes again ends the whole grant, as RFC 9700 §4.14.2 advises.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from mcp.server.auth.provider import AccessToken, RefreshToken
from mcp.server.auth.settings import AuthSettings
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from support.mcp_server import McpWorld, mcp_app, serving

CLIENT, CLIENT_SECRET = "client one", "secret/%&+ of the client"
SCOPES = ("tools",)


@dataclass
class Asked:
    """One request at the token endpoint."""

    form: dict[str, str]
    authorization: str | None


@dataclass
class OauthWorld:
    """The two servers, and what a test sees and steers of them."""

    mcp: McpWorld = field(default_factory=McpWorld)
    client_auth: str = "none"
    lifetime_seconds: int = 3600
    asked: list[Asked] = field(default_factory=list)
    reuses: int = 0
    answer: Callable[[Asked], int | None] = lambda _: None
    """Answers a refresh with a bare status, with a redirect to an internal address in its headers."""
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """Refreshes wait for it."""
    _access: dict[str, tuple[AccessToken, float]] = field(default_factory=dict)
    _refresh: dict[str, RefreshToken] = field(default_factory=dict)
    _spent: set[str] = field(default_factory=set)

    @property
    def port(self) -> int:
        return self.mcp.port

    @property
    def token_endpoint(self) -> str:
        return f"http://localhost:{self.port}/token"

    def grant(self, *scopes: str) -> OAuthToken:
        """Issue a grant, as a user's consent would. Without scopes it has all that the MCP server wants."""
        return self._issue(list(SCOPES), list(scopes or SCOPES))

    def revoke_access(self) -> None:
        """End every access token; grants go on."""
        self._access.clear()

    def revoke_all(self) -> None:
        """End every grant."""
        self._access.clear()
        self._refresh.clear()

    def is_valid(self, access_token: str) -> bool:
        found = self._access.get(access_token)
        return found is not None and time.monotonic() < found[1]

    def _issue(self, granted: list[str], scopes: list[str]) -> OAuthToken:
        access, refresh = f"access-{secrets.token_hex(8)}", f"refresh-{secrets.token_hex(8)}"
        until = time.monotonic() + self.lifetime_seconds
        self._access[access] = (AccessToken(token=access, client_id=CLIENT, scopes=scopes), until)
        self._refresh[refresh] = RefreshToken(token=refresh, client_id=CLIENT, scopes=granted)
        lifetime = self.lifetime_seconds
        return OAuthToken(access_token=access, refresh_token=refresh, expires_in=lifetime, scope=" ".join(scopes))

    # what the official handlers ask of a provider

    async def get_client(self, client_id: str) -> OAuthClientInformationFull | None:
        secret = None if self.client_auth == "none" else CLIENT_SECRET
        return OAuthClientInformationFull(
            client_id=client_id, client_secret=secret, token_endpoint_auth_method=self.client_auth
        )

    async def load_access_token(self, token: str) -> AccessToken | None:
        return self._access[token][0] if self.is_valid(token) else None

    async def load_refresh_token(self, client: OAuthClientInformationFull, refresh_token: str) -> RefreshToken | None:
        if refresh_token in self._spent:
            self.reuses += 1
            self.revoke_all()
        return self._refresh.get(refresh_token) if client.client_id == CLIENT else None

    async def exchange_refresh_token(
        self, client: OAuthClientInformationFull, refresh_token: RefreshToken, scopes: list[str]
    ) -> OAuthToken:
        self._spent.add(refresh_token.token)
        self._refresh.pop(refresh_token.token)
        return self._issue(refresh_token.scopes, scopes)


@asynccontextmanager
async def oauth_server() -> AsyncIterator[OauthWorld]:
    """Serve `/token` and `/mcp` until the block ends."""
    world = OauthWorld()
    world.gate.set()

    def app_at(port: int) -> ASGIApp:
        world.mcp.port = port
        provider: Any = world  # it has no part in giving consent
        auth = AuthSettings.model_validate(
            {
                "issuer_url": f"http://localhost:{port}",
                "resource_server_url": world.mcp.url,
                "required_scopes": list(SCOPES),
                "validate_token_resource": False,
            }
        )
        return _watched(world, mcp_app(world.mcp, auth_server_provider=provider, auth=auth))

    async with serving(app_at):
        try:
            yield world
        finally:
            world.gate.set()
            world.mcp.go.set()


def _watched(world: OauthWorld, app: ASGIApp) -> ASGIApp:
    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/token":
            return await app(scope, receive, send)
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        asked = Asked(dict(parse_qsl(body.decode())), headers.get("authorization"))
        world.asked.append(asked)
        await world.gate.wait()
        status = world.answer(asked)
        if status is not None:
            location = (b"location", f"http://localhost:{world.port}/stolen".encode())
            await send({"type": "http.response.start", "status": status, "headers": [location]})
            await send({"type": "http.response.body", "body": b"no"})
            return None

        async def again() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        return await app(scope, again, send)

    return watched
