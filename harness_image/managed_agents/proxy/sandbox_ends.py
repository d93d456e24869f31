"""The two ends that a sandbox call talks to: the server, which knows of it, and its supervisor, which runs it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote

import orjson
from aiohttp import ClientSession, ClientTimeout

from managed_agents.proxy.bindings import Binding, MalformedError, Pending, Wanted, claim_from
from managed_agents.proxy.forward import UnreachableError
from managed_agents.proxy.json_call import json_call
from managed_agents.proxy.server_access import ServerAccess
from managed_agents.proxy.settings import CONNECT_SECONDS, Pacing


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """The sandbox is known to have ended."""

    reason: str
    message: str


class Claims(Protocol):
    """What the server knows of sandboxes."""

    async def claim(self, wanted: Wanted) -> Binding | Pending:
        """Ask for the session's sandbox. Raises: RefusedError, UnreachableError, MalformedError."""
        ...

    async def end_of(self, binding: Binding, *, wait_seconds: float) -> Gone | None:
        """Tell how the sandbox ended, waiting that long for it to end; None while it lives or nobody knows."""
        ...


class Supervisor(Protocol):
    """What a bound sandbox does."""

    async def bind(self, binding: Binding, environment: Mapping[str, object] | None = None) -> None:
        """Bind the Pod, or raise its epoch, and tell it its tools' environment; without one they keep what they have.

        Raises: RefusedError, UnreachableError, MalformedError.
        """
        ...

    async def call(self, binding: Binding, method: str, path: str, body: bytes | None = None) -> object:
        """Make one authenticated call and return its JSON. Raises: RefusedError, UnreachableError, MalformedError."""
        ...


class ServerClaims:
    """Claims over the server's internal API."""

    def __init__(self, client: ClientSession, server: ServerAccess) -> None:
        self._client = client
        self._server = server

    async def claim(self, wanted: Wanted) -> Binding | Pending:
        """Ask for the session's sandbox; see `Claims`."""
        url = self._server.url_for(f"/internal/v1/sessions/{wanted.session}/sandbox")
        body: dict[str, object] = {
            "epoch": wanted.epoch,
            "name": wanted.name,
            "wait_seconds": wanted.wait_seconds,
            **({"existing": True} if wanted.existing else {}),
        }
        answer = await json_call(
            self._client,
            "POST",
            url,
            headers=self._server.headers_for(),
            body=orjson.dumps(body),
            timeout=_timeout(wanted.wait_seconds),
        )
        if not isinstance(answer, dict):
            raise MalformedError("claim: an object is required")
        return claim_from(wanted, answer)

    async def end_of(self, binding: Binding, *, wait_seconds: float) -> Gone | None:
        """Tell how the sandbox ended; see `Claims`."""
        path = f"/internal/v1/sessions/{binding.session}/sandbox/{quote(binding.pod_name, safe='')}"
        url = self._server.url_for(f"{path}?wait_seconds={wait_seconds:g}")
        try:
            answer = await json_call(
                self._client, "GET", url, headers=self._server.headers_for(), timeout=_timeout(wait_seconds)
            )
        except (UnreachableError, MalformedError):
            return None
        if not isinstance(answer, dict) or answer.get("state") != "gone":
            return None
        reason, message = answer.get("reason"), answer.get("message")
        return Gone(reason=str(reason or "Deleted"), message=str(message or "the sandbox Pod is gone"))


class SupervisorClient:
    """A supervisor over HTTP (docs/sandbox.md)."""

    def __init__(self, client: ClientSession, pacing: Pacing) -> None:
        self._client = client
        self._timeout = ClientTimeout(total=None, sock_connect=pacing.connect_seconds, sock_read=pacing.reply_seconds)

    async def bind(self, binding: Binding, environment: Mapping[str, object] | None = None) -> None:
        """Bind the Pod, or raise its epoch; see `Supervisor`."""
        body = {
            "session": binding.session,
            "epoch": binding.epoch,
            "name": binding.name,
            "secret": binding.secret,
            "resources": {},
            **({} if environment is None else {"environment": environment}),
        }
        headers = {"Authorization": f"Bearer {binding.token}"}
        await json_call(
            self._client, "POST", binding.base / "bind", headers=headers, body=orjson.dumps(body), timeout=self._timeout
        )

    async def call(self, binding: Binding, method: str, path: str, body: bytes | None = None) -> object:
        """Make one authenticated call; see `Supervisor`."""
        headers = {"Authorization": f"Bearer {binding.secret}", "X-Epoch": str(binding.epoch)}
        url = binding.base.with_path(path, encoded=True)
        return await json_call(self._client, method, url, headers=headers, body=body, timeout=self._timeout)


def _timeout(wait_seconds: float) -> ClientTimeout:
    return ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=wait_seconds + CONNECT_SECONDS)
