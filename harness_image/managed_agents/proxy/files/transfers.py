"""Moves files between server and supervisor: each streamed through, never whole in memory."""

from collections.abc import AsyncIterator, Mapping
from typing import Protocol
from urllib.parse import quote

import orjson
from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout
from yarl import URL

from managed_agents.proxy.bindings import Binding, MalformedError, error_from
from managed_agents.proxy.files.plan import Output, Upload, outputs_from, present_from, stored_from
from managed_agents.proxy.forward import UnreachableError, reason_of
from managed_agents.proxy.json_call import json_call
from managed_agents.proxy.packages import Wanted, wanted_from
from managed_agents.proxy.server_access import ServerAccess
from managed_agents.proxy.settings import CONNECT_SECONDS

_CALL = ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=30.0)
_TRANSFER = ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=600.0)
"""The answer to an upload begins after its last byte, so silence lasts as long as the file is large."""

REFUSAL_BYTES_MAX = 64 * 1024


class Transfers(Protocol):
    """What can be done with a session's files. Each call raises: RefusedError, UnreachableError, MalformedError."""

    async def present(self, binding: Binding) -> Mapping[str, str]:
        """Return the ids of the files that the sandbox was given, by path."""
        ...

    async def place(self, binding: Binding, upload: Upload) -> None:
        """Copy a file from the server into the sandbox."""
        ...

    async def remove(self, binding: Binding, path: str) -> None:
        """Remove a file that the sandbox was given."""
        ...

    async def outputs(self, binding: Binding) -> list[Output]:
        """Return what the tools have left."""
        ...

    async def stored(self, session: str) -> dict[str, str]:
        """Return the versions of the outputs that the server has, by path."""
        ...

    async def store(self, binding: Binding, output: Output) -> None:
        """Copy an output from the sandbox to the server."""
        ...

    async def end_last_look(self, session: str, sandbox_name: str) -> None:
        """Tell the server that nothing more will be copied from a sandbox that was given up."""
        ...


class HttpTransfers:
    """Transfers over the internal API and the supervisor's contract (docs/files.md)."""

    def __init__(self, client: ClientSession, server: ServerAccess) -> None:
        self._client = client
        self._server = server

    async def present(self, binding: Binding) -> Mapping[str, str]:
        """Return what the sandbox was given; see `Transfers`."""
        return present_from(await self._ask(binding, "GET", "/uploads"))

    async def place(self, binding: Binding, upload: Upload) -> None:
        """Copy a file into the sandbox; see `Transfers`."""
        file_id = quote(upload.file_id, safe="")
        source = self._server.url_for(f"/internal/v1/sessions/{binding.session}/files/{file_id}/content")
        target = _url(binding, f"/uploads/{quote(upload.path, safe='/')}")
        headers = _headers(binding) | {"X-Tag": upload.file_id}
        await self._copy(source, self._server.headers_for(), target, headers)

    async def remove(self, binding: Binding, path: str) -> None:
        """Remove a file of the sandbox; see `Transfers`."""
        await self._ask(binding, "DELETE", f"/uploads/{quote(path, safe='/')}")

    async def outputs(self, binding: Binding) -> list[Output]:
        """Return what the tools have left; see `Transfers`."""
        return outputs_from(await self._ask(binding, "GET", "/outputs"))

    async def stored(self, session: str) -> dict[str, str]:
        """Return what the server has; see `Transfers`."""
        url = self._server.url_for(f"/internal/v1/sessions/{session}/outputs")
        return stored_from(await json_call(self._client, "GET", url, headers=self._server.headers_for(), timeout=_CALL))

    async def store(self, binding: Binding, output: Output) -> None:
        """Copy an output to the server; see `Transfers`."""
        query = f"path={quote(output.path, safe='')}&version={quote(output.version, safe='')}"
        target = self._server.url_for(f"/internal/v1/sessions/{binding.session}/outputs?{query}")
        source = _url(binding, f"/outputs/{quote(output.path, safe='/')}")
        await self._copy(source, _headers(binding), target, self._server.headers_for())

    async def end_last_look(self, session: str, sandbox_name: str) -> None:
        """Tell the server that a sandbox may go; see `Transfers`."""
        path = f"/internal/v1/sessions/{session}/sandbox/{quote(sandbox_name, safe='')}/collected"
        await json_call(
            self._client, "POST", self._server.url_for(path), headers=self._server.headers_for(), timeout=_CALL
        )

    async def packages(self, binding: Binding) -> Wanted:
        """Ask a sandbox for the packages it must have; see `PackageTransfers`."""
        return wanted_from(await self._ask(binding, "GET", "/packages"))

    async def place_packages(self, binding: Binding, digest: str) -> None:
        """Copy an archive into the sandbox; see `PackageTransfers`."""
        source = self._server.url_for(f"/internal/v1/sessions/{binding.session}/packages/{digest}")
        await self._copy(source, self._server.headers_for(), _url(binding, f"/packages/{digest}"), _headers(binding))

    async def _ask(self, binding: Binding, method: str, path: str) -> object:
        return await json_call(self._client, method, _url(binding, path), headers=_headers(binding), timeout=_CALL)

    async def _copy(self, source: URL, asking: Mapping[str, str], target: URL, sending: Mapping[str, str]) -> None:
        try:
            async with self._client.get(source, headers=asking, timeout=_TRANSFER, allow_redirects=False) as answer:
                await _require_ok(answer)
                if answer.content_length is None:
                    raise MalformedError("Content-Length: missing in an answer with a file")
                headers = {**sending, "Content-Length": str(answer.content_length)}
                async with self._client.put(
                    target, headers=headers, data=_chunks(answer), timeout=_TRANSFER, allow_redirects=False
                ) as stored:
                    await _require_ok(stored)
                    await stored.read()
        except (ClientError, TimeoutError, OSError) as problem:
            raise UnreachableError(reason_of(problem)) from None


async def _chunks(answer: ClientResponse) -> AsyncIterator[bytes]:
    while chunk := await answer.content.readany():
        yield chunk


async def _require_ok(answer: ClientResponse) -> None:
    if answer.status == 200:
        return
    body = await answer.content.read(REFUSAL_BYTES_MAX)
    try:
        document: object = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise MalformedError(f"body: not JSON in an answer with status {answer.status}") from None
    raise error_from(answer.status, document)


def _url(binding: Binding, path: str) -> URL:
    return binding.base.with_path(path, encoded=True)


def _headers(binding: Binding) -> dict[str, str]:
    return {"Authorization": f"Bearer {binding.secret}", "X-Epoch": str(binding.epoch)}
