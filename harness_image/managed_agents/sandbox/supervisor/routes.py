"""The HTTP contract of docs/sandbox.md: paths, who may use them, and what answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from managed_agents.sandbox.supervisor.binding import parse_bind
from managed_agents.sandbox.supervisor.calls import Calls, check_call_id, parse_call
from managed_agents.sandbox.supervisor.environment import KeptEnvironment
from managed_agents.sandbox.supervisor.errors import ContractError, invalid, not_found
from managed_agents.sandbox.supervisor.fence import Fence
from managed_agents.sandbox.supervisor.file_routes import FOLDERS, FileRoutes
from managed_agents.sandbox.supervisor.http import Answer, Head, Response, Streamed, parse_json
from managed_agents.sandbox.supervisor.link import RunnerLink
from managed_agents.sandbox.supervisor.packages import ARCHIVE_BYTES_MAX, Packages
from managed_agents.sandbox.supervisor.relay import Relay

_METHODS = {"/livez": "GET", "/healthz": "GET", "/bind": "POST", "/execute": "POST", "/egress": "POST"}


class Routes:
    """Admits requests: authentication and the epoch's syntax by the head alone, so no stranger's body is read."""

    def __init__(
        self,
        fence: Fence,
        calls: Calls,
        link: RunnerLink,
        relay: Relay,
        files: FileRoutes,
        packages: Packages,
        environment: KeptEnvironment,
    ) -> None:
        self._environment = environment
        self._fence = fence
        self._calls = calls
        self._link = link
        self._relay = relay
        self._files = files
        self._packages = packages

    async def admit(self, head: Head) -> Answer | Streamed:
        """Return what answers a request. Raises `ContractError`."""
        path = head.path.partition("?")[0]
        segments = path.split("/")[1:]
        if path in _METHODS:
            _require_method(head, _METHODS[path])
            return self._fixed(path, head)
        if segments[0] == "calls" and len(segments) == 2:
            _require_method(head, "GET")
            return self._fenced(head, lambda _: self._calls.lookup(check_call_id(segments[1])))
        if segments[0] == "calls" and len(segments) == 3 and segments[2] == "cancel":
            _require_method(head, "POST")
            return self._fenced(head, lambda _: self._calls.cancel(check_call_id(segments[1])))
        if segments[0] in FOLDERS:
            self._fence.check_secret(_bearer(head))
            epoch = _epoch(head)
            return self._files.admit(head, segments, lambda: self._fence.enter(epoch))
        if segments[0] == "packages" and len(segments) == 1:
            _require_method(head, "GET")
            is_blank = self._fence.is_blank_for(_bearer(head))
            return self._packages_state if is_blank else self._fenced(head, self._packages_fields)
        if segments[0] == "packages" and len(segments) == 2:
            _require_method(head, "PUT")
            return self._packages_put(head, segments[1])
        raise not_found(f"no such path: {path}")

    async def _packages_fields(self, _: bytes) -> dict[str, Any]:
        return self._packages.state()

    async def _packages_state(self, _: bytes) -> Response:
        return Response(status=200, body=self._packages.state())

    def _packages_put(self, head: Head, digest: str) -> Streamed:
        bearer = _bearer(head)
        epoch = None  # a sandbox of a pool has none yet
        if not self._fence.is_blank_for(bearer):
            self._fence.check_secret(bearer)
            epoch = _epoch(head)

        async def take(chunks: AsyncIterator[bytes]) -> Response:
            if epoch is not None:
                await self._fence.enter(epoch)
            return Response(status=200, body=await self._packages.put(digest, head.body_bytes, chunks))

        return Streamed(take=take, body_bytes_max=ARCHIVE_BYTES_MAX)

    def _fixed(self, path: str, head: Head) -> Answer:
        match path:
            case "/livez":
                return _answered(Response(status=200, body={}))
            case "/healthz":
                return _answered(self._health())
            case "/bind":
                self._fence.check_binder(_bearer(head))
                return self._bind
            case "/egress":
                return self._offer(head)
            case _:
                return self._fenced(head, lambda body: self._calls.execute(parse_call(parse_json(body))))

    def _health(self) -> Response:
        connected = self._link.connected
        return Response(status=200 if connected else 503, body={"runner": connected, "bound": self._fence.bound})

    async def _bind(self, body: bytes) -> Response:
        request = parse_bind(parse_json(body))
        await self._fence.bind(request)
        if request.environment is not None and await self._environment.put(request.environment):
            await self._link.send(self._environment.frame())
        answer = {"session": request.session, "name": request.name, "epoch": request.epoch}
        return Response(status=200, body=answer)

    def _offer(self, head: Head) -> Answer:
        """Return an answer that makes a waiting connection of the relay out of the caller's."""
        self._fence.check_secret(_bearer(head))
        epoch = _epoch(head)

        async def answer(_: bytes) -> Response:
            await self._fence.enter(epoch)
            return Response(
                status=101, body={}, take_over=lambda reader, writer: self._relay.offer(epoch, reader, writer)
            )

        return answer

    def _fenced(self, head: Head, work: Callable[[bytes], Awaitable[dict[str, Any]]]) -> Answer:
        """Return an answer that runs under the request's epoch, before the work and after it."""
        self._fence.check_secret(_bearer(head))
        epoch = _epoch(head)

        async def answer(body: bytes) -> Response:
            await self._fence.enter(epoch)
            working = work(body)
            del body  # it may be large, and the call long
            result = await working
            self._fence.check_epoch(epoch)
            return Response(status=200, body=result)

        return answer


def _answered(response: Response) -> Answer:
    async def answer(_: bytes) -> Response:
        return response

    return answer


def _require_method(head: Head, method: str) -> None:
    if head.method != method:
        raise ContractError(405, "method_not_allowed", f"use {method}")


def _bearer(head: Head) -> str:
    scheme, _, bearer = head.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not bearer.strip():
        raise ContractError(401, "authentication_error", "send Authorization: Bearer")
    return bearer.strip()


def _epoch(head: Head) -> int:
    text = head.headers.get("x-epoch", "")
    if not (text.isascii() and text.isdigit() and len(text) <= 18 and int(text) >= 1):
        raise invalid("X-Epoch: must be a decimal integer of at least 1")
    return int(text)
