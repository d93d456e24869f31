"""Tries a credential at its MCP server: `initialize`, `tools/list`, and on 401 a refresh between two attempts.

By the rules of every call to an MCP server (docs/mcp.md, 3): judged, dialled where it was judged, no redirect followed.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass
from typing import Any, Literal

import orjson
from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout
from yarl import URL

from managed_agents.contracts.egress import EgressRules
from managed_agents.proxy.egress_rules import Networking
from managed_agents.proxy.errors import RefusedError
from managed_agents.proxy.headers import mcp_request_headers
from managed_agents.proxy.mcp_dialling import judged
from managed_agents.proxy.oauth.captured import BODY_BYTES_MAX, HttpAnswer, captured
from managed_agents.proxy.oauth.grants import Grant, OauthCredential
from managed_agents.proxy.oauth.renewals import Renewals
from managed_agents.proxy.oauth.token_request import NotRenewed

ANSWER_SECONDS = 5.0
"""One request, all in all."""

ANSWER_BYTES_MAX = 256 * 1024
"""An answer that is longer is taken as one that came: its head has said whether the credential is accepted."""

PROTOCOL_VERSION = "2025-06-18"

RETRYABLE = frozenset({408, 425, 429})

_TIMEOUT = ClientTimeout(total=ANSWER_SECONDS, sock_connect=3.0)
_ACCEPT = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
_OLDER_TRANSPORT = frozenset({400, 404, 405})
"""What a server of HTTP with SSE answers a first request of the newer transport (MCP, "Backwards compatibility")."""

Verdict = Literal["valid", "invalid", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The step that failed; without an answer nothing came that could be shown. `status` is 0 then."""

    method: str
    answer: HttpAnswer | None = None

    @property
    def status(self) -> int:
        """Return the answer's status."""
        return 0 if self.answer is None else self.answer.status_code


@dataclass(frozen=True, slots=True, kw_only=True)
class Refresh:
    """What a refresh came to, in the API's words."""

    status: Literal["succeeded", "failed", "connect_error", "no_refresh_token"]
    answer: HttpAnswer | None = None
    is_final: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a probe has found."""

    failed: Failed | None = None
    refresh: Refresh | None = None

    @property
    def verdict(self) -> Verdict:
        """Say what it means for the credential (API reference §11): 4xx is invalid, what may pass is unknown."""
        if self.failed is None:
            return "valid"
        is_for_now = self.failed.status in RETRYABLE or not 400 <= self.failed.status < 500
        if is_for_now or (self.refresh is not None and not self.refresh.is_final):
            return "unknown"
        return "invalid"

    def body(self) -> dict[str, Any]:
        """Return what the server is told (docs/internal-api.md)."""
        failed, refresh = self.failed, self.refresh
        return {
            "status": self.verdict,
            "mcp_probe": None if failed is None else {"method": failed.method, **_shown(failed.answer)},
            "refresh": None if refresh is None else {"status": refresh.status, **_shown(refresh.answer)},
        }


class McpProbe:
    """Probes over the pool of connections of the MCP servers."""

    def __init__(self, client: ClientSession, rules: EgressRules, renewals: Renewals) -> None:
        self._client = client
        self._rules = rules
        self._renewals = renewals

    async def probe(self, credential: OauthCredential, server_url: str, networking: Networking) -> Finding:
        """Try the credential. Whatever goes wrong is a finding."""
        token = self._renewals.held(credential)
        failed = await self._try(server_url, networking, token)
        if failed is None or failed.status != 401:
            return Finding(failed=failed)
        renewed = await self._renewals.for_probe(credential, token)
        if not isinstance(renewed, Grant):
            return Finding(failed=failed, refresh=_refresh_of(renewed))
        again = await self._try(server_url, networking, renewed.access_token)
        return Finding(failed=again, refresh=Refresh(status="succeeded"))

    async def _try(self, server_url: str, networking: Networking, token: str) -> Failed | None:
        method = "initialize"
        try:
            url = judged(server_url, networking, self._rules)
            exchange = _Exchange(self._client, url, token)
            failed = await exchange.initialize()
            if failed is not None and failed.status in _OLDER_TRANSPORT and await exchange.opens_stream():
                return None
            if failed is not None:
                return failed
            method = "tools/list"
            failed = await exchange.list_tools()
            await exchange.leave()
        except (RefusedError, ClientError, TimeoutError, OSError):
            return Failed(method=method)
        return failed


class _Exchange:
    """The requests of one attempt. Raises of each: what the connection does, and RefusedError."""

    def __init__(self, client: ClientSession, url: URL, token: str) -> None:
        self._client = client
        self._url = url
        self._token = token
        self._session: dict[str, str] = {}

    async def initialize(self) -> Failed | None:
        params = {
            "protocolVersion": PROTOCOL_VERSION,
            "capabilities": {},
            "clientInfo": {"name": "managed-agents", "version": "1"},
        }
        failed = await self._ask("initialize", params)
        if failed is None:
            async with self._send("POST", {"jsonrpc": "2.0", "method": "notifications/initialized"}):
                pass
        return failed

    async def list_tools(self) -> Failed | None:
        return await self._ask("tools/list", {})

    async def opens_stream(self) -> bool:
        """Tell whether a server of the older transport opens its stream for the token."""
        async with self._send("GET", None) as answer:
            return answer.status == 200 and answer.content_type == "text/event-stream"

    async def leave(self) -> None:
        if "Mcp-Session-Id" in self._session:
            async with self._send("DELETE", None):
                pass

    async def _ask(self, method: str, params: Mapping[str, Any]) -> Failed | None:
        async with self._send("POST", {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}) as answer:
            is_whole, content = await _read(answer)
            session = answer.headers.get("Mcp-Session-Id")
            if method == "initialize" and 200 <= answer.status < 300:
                self._session = {"Mcp-Protocol-Version": PROTOCOL_VERSION}
                self._session |= {"Mcp-Session-Id": session} if session else {}
            if 200 <= answer.status < 300 and not any("error" in message for message in _messages(content)):
                return None
            is_packed = "Content-Encoding" in answer.headers  # not to be looked through for the token
            shown = b"" if is_packed else content[: 2 * BODY_BYTES_MAX]
            is_cut = not is_whole or is_packed or len(content) > len(shown)
            kind = answer.headers.get("Content-Type", "")
            return Failed(method=method, answer=captured(answer.status, kind, shown, [self._token], is_cut=is_cut))

    def _send(self, method: str, message: Mapping[str, Any] | None) -> AbstractAsyncContextManager[ClientResponse]:
        return self._client.request(
            method,
            self._url,
            headers=mcp_request_headers(_ACCEPT | self._session, bearer=self._token),
            data=None if message is None else orjson.dumps(message),
            timeout=_TIMEOUT,
            allow_redirects=False,
        )


async def _read(answer: ClientResponse) -> tuple[bool, bytes]:
    """Return the body up to a bound, of a stream up to its first answer, and whether that is all of it."""
    content = b""
    is_stream = answer.content_type == "text/event-stream"
    while part := await answer.content.readany():
        content += part
        if len(content) > ANSWER_BYTES_MAX or (is_stream and next(_messages(content), None) is not None):
            answer.close()
            return False, content[:ANSWER_BYTES_MAX]
    return True, content


def _messages(content: bytes) -> Iterator[Mapping[str, Any]]:
    """Yield the answers in a body of JSON or of a stream."""
    lines = [line[5:] for line in content.splitlines() if line.startswith(b"data:")] or [content]
    for line in lines:
        try:
            found = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(found, dict) and "id" in found and ("result" in found or "error" in found):
            yield found


def _refresh_of(refused: NotRenewed | None) -> Refresh:
    if refused is None:
        return Refresh(status="no_refresh_token")
    status: Literal["failed", "connect_error"] = "connect_error" if refused.answer is None else "failed"
    return Refresh(status=status, answer=refused.answer, is_final=refused.is_final)


def _shown(answer: HttpAnswer | None) -> dict[str, Any]:
    return {"http_response": None if answer is None else asdict(answer)}
