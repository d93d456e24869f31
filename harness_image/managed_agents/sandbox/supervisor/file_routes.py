"""The part of the HTTP contract that moves files: what the session was given in, what its tools left out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from managed_agents.sandbox.supervisor.errors import ContractError
from managed_agents.sandbox.supervisor.file_paths import parse_path
from managed_agents.sandbox.supervisor.http import Answer, Head, Response, Streamed
from managed_agents.sandbox.supervisor.outputs import Outputs
from managed_agents.sandbox.supervisor.uploads import Uploads

FOLDERS = ("uploads", "outputs")

Enter = Callable[[], Awaitable[None]]


class FileRoutes:
    """Answers requests below `/uploads` and `/outputs`, whose callers are known to hold the binding's secret."""

    def __init__(self, uploads: Uploads, outputs: Outputs, file_bytes_max: int) -> None:
        self._uploads = uploads
        self._outputs = outputs
        self._file_bytes_max = file_bytes_max

    def admit(self, head: Head, segments: list[str], enter: Enter) -> Answer | Streamed:
        """Return what answers a request; it calls `enter`, which fences, before anything else. Raises 400, 404, 405."""
        if len(segments) == 1:
            return self._listing(head, segments[0], enter)
        path = parse_path(segments[1:])
        match segments[0], head.method:
            case "uploads", "PUT":
                return self._put(head, path, enter)
            case "uploads", "DELETE":
                return _json(enter, lambda: self._uploads.delete(path))
            case "outputs", "GET":
                return self._get(path, enter)
            case _:
                raise ContractError(405, "method_not_allowed", "use PUT and DELETE on uploads, GET on outputs")

    def _listing(self, head: Head, folder: str, enter: Enter) -> Answer:
        if head.method != "GET":
            raise ContractError(405, "method_not_allowed", "use GET")
        if folder == "outputs":
            return _json(enter, self._outputs.listing)

        async def uploads() -> dict[str, object]:
            return self._uploads.listing()

        return _json(enter, uploads)

    def _put(self, head: Head, path: str, enter: Enter) -> Streamed:
        tag = head.headers.get("x-tag", "")

        async def take(chunks: AsyncIterator[bytes]) -> Response:
            await enter()
            return Response(status=200, body=await self._uploads.put(path, tag, head.body_bytes, chunks))

        return Streamed(take=take, body_bytes_max=self._file_bytes_max)

    def _get(self, path: str, enter: Enter) -> Answer:
        async def answer(_: bytes) -> Response:
            await enter()
            opened = await self._outputs.open(path)
            return Response(status=200, body={}, content=opened.content())

        return answer


def _json(enter: Enter, work: Callable[[], Awaitable[dict[str, object]]]) -> Answer:
    async def answer(_: bytes) -> Response:
        await enter()
        return Response(status=200, body=await work())

    return answer
