"""The public calls of files: upload, list, look, download, delete (API reference §3.8)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar
from urllib.parse import quote

from aiohttp import BodyPartReader, MultipartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from managed_agents.contracts.errors import NotFoundError, RejectedError
from managed_agents.filestore.errors import FileTooLargeError
from managed_agents.filestore.records import Draft, File
from managed_agents.filestore.store import FileStore, Incoming
from managed_agents.server.context import context_of
from managed_agents.server.middleware import json_response
from managed_agents.server.routes import access
from managed_agents.server.routes.route import Query, Route
from managed_agents.server.services.files import (
    IDS_MAX,
    LIMIT_MAX,
    expires_at_of,
    filename_of,
    is_downloadable,
    metadata_of,
    mime_type_of,
    next_page,
    parse_page,
)

T = TypeVar("T")

RESOURCE = "files"
"""The word for RBAC: rules on `files.managedagents.dev` govern these calls; no such objects exist in Kubernetes."""

CHUNK_BYTES = 256 * 1024
FIELD_BYTES_MAX = 1024
FORM_BYTES_MAX = 64 * 1024
"""What boundaries, headers and other fields of a form may take beside the file."""

SILENCE_SECONDS = 60.0
"""Longest pause within an upload."""


@dataclass(slots=True, kw_only=True)
class _Form:
    """What an upload's form said; filled part by part."""

    seen: set[str] = field(default_factory=set)
    filename: str | None = None
    declared_type: str | None = None
    expires_in_seconds: str | None = None


async def upload_file(request: web.Request) -> web.Response:
    """Store a file, streamed to the volume."""
    workspace = await access.workspace(request, "create", RESOURCE)
    context = context_of(request)
    if request.content_type != "multipart/form-data":
        raise RejectedError(f"Content-Type: must be multipart/form-data, found {request.content_type!r}")
    check_length(request, context.files, FORM_BYTES_MAX)
    async with context.files.receive(workspace.namespace) as incoming:
        form = await _read_form(request, incoming)
        mime_type = mime_type_of(form.declared_type, form.filename)
        draft = Draft(
            namespace=workspace.namespace,
            filename=filename_of(form.filename, mime_type),
            mime_type=mime_type,
            origin="upload",
            expires_at=expires_at_of(form.expires_in_seconds, context.clock.now()),
        )
        file = await context.files.add(incoming, draft)
    return json_response(_shown(request, file))


async def list_files(request: web.Request) -> web.Response:
    """Return one page of the namespace's files, newest first."""
    workspace = await access.workspace(request, "list", RESOURCE)
    context = context_of(request)
    page = parse_page(workspace.namespace, request.query.items(), context.log.secret)
    files, cursor = next_page(page, await context.files.files(page.listing), context.log.secret)
    return json_response({"data": [_shown(request, file) for file in files], "next_page": cursor})


async def get_file(request: web.Request) -> web.Response:
    """Return a file's metadata."""
    return json_response(_shown(request, await _permitted(request, "get")))


async def download_file(request: web.Request) -> web.StreamResponse:
    """Return a file's bytes, where its kind may be downloaded."""
    file = await _permitted(request, "get")
    if not is_downloadable(file, uploads_downloadable=context_of(request).settings.uploads_downloadable):
        raise RejectedError(
            f"file {file.id} cannot be downloaded: only files that a session made can",
            reason="FileNotDownloadable",
            error_code="file_not_downloadable",
        )
    return await send_content(request, file)


async def delete_file(request: web.Request) -> web.Response:
    """Remove a file; sessions keep the copies they have."""
    file = await _permitted(request, "delete")
    await context_of(request).files.delete(file.id)
    return json_response({"id": file.id, "type": "file_deleted"})


async def send_content(request: web.Request, file: File) -> web.StreamResponse:
    """Stream a file's bytes. Raises: FileExpiredError, NotFoundError."""
    outgoing = await context_of(request).files.open(file)
    try:
        name = quote(file.filename, safe="")
        response = web.StreamResponse(
            headers={
                "Content-Type": file.mime_type,
                "Content-Length": str(file.size_bytes),
                "Content-Disposition": f"attachment; filename*=UTF-8''{name}",
                "X-Content-Type-Options": "nosniff",
                "X-Filename": name,
            }
        )
        await response.prepare(request)
        async for chunk in outgoing.chunks():
            await response.write(chunk)
        await response.write_eof()
    finally:
        outgoing.close()
    return response


def check_length(request: web.Request, files: FileStore, beside: int) -> None:
    """Refuse a body that announces more than a file may have and `beside`. Raises: FileTooLargeError."""
    most = files.file_bytes_max
    if (request.content_length or 0) > most + beside:
        raise FileTooLargeError(f"file: the body has {request.content_length} bytes; a file has at most {most}")


async def body_chunks(request: web.Request) -> AsyncIterator[bytes]:
    """Yield a request's body as it comes. Raises: RejectedError when it pauses too long."""
    while chunk := await _in_time(request.content.readany()):
        yield chunk


async def _read_form(request: web.Request, incoming: Incoming) -> _Form:
    form = _Form()
    try:
        reader = await request.multipart()
        while (part := await _next_part(reader)) is not None:
            if not isinstance(part, BodyPartReader):
                raise RejectedError("file: a form within the form is not allowed")
            await _read_part(part, form, incoming)
    except (ValueError, AssertionError, HttpProcessingError) as error:
        raise RejectedError(f"the body is no multipart/form-data: {type(error).__name__}") from error
    if "file" not in form.seen:
        raise RejectedError("file: missing; send it as a part of the form", field="file")
    return form


async def _next_part(reader: MultipartReader) -> MultipartReader | BodyPartReader | None:
    try:
        return await _in_time(reader.next())
    except RuntimeError as error:  # what aiohttp raises on a bad `_charset_`
        raise RejectedError(f"the body is no multipart/form-data: {error}") from error


async def _read_part(part: BodyPartReader, form: _Form, incoming: Incoming) -> None:
    name = part.name or ""
    if name in form.seen:
        raise RejectedError(f"{name}: sent twice; one upload holds one file", field=name)
    form.seen.add(name)
    match name:
        case "file":
            form.filename, form.declared_type = part.filename, part.headers.get("Content-Type")
            while not part.at_eof():
                await incoming.write(await _in_time(part.read_chunk(CHUNK_BYTES)))
        case "expires_in_seconds":
            value = b""
            while not part.at_eof() and len(value) <= FIELD_BYTES_MAX:
                value += await _in_time(part.read_chunk())
            form.expires_in_seconds = value.decode("utf-8", "replace").strip()
        case _:
            raise RejectedError(f"{name[:60]}: unknown field; a form holds file and expires_in_seconds")


async def _in_time(reading: Awaitable[T]) -> T:
    try:
        async with asyncio.timeout(SILENCE_SECONDS):
            return await reading
    except TimeoutError:
        raise RejectedError(f"the body paused for more than {SILENCE_SECONDS:.0f} s; send it again") from None


async def _permitted(request: web.Request, verb: str) -> File:
    file_id = request.match_info["file_id"]
    context = context_of(request)
    try:
        file = await context.files.get(file_id)
    except NotFoundError:
        await access.caller(request)  # strangers learn nothing
        raise
    await access.permitted(request, verb, RESOURCE, file.namespace, file.id, f"file {file.id}")
    return file


def _shown(request: web.Request, file: File) -> dict[str, object]:
    return metadata_of(file, uploads_downloadable=context_of(request).settings.uploads_downloadable)


_FILE = "/v1/files/{file_id}"

ROUTES = (
    Route(
        method="POST",
        path="/v1/files",
        handler=upload_file,
        family="files",
        summary="Upload a file",
        answers="file",
        takes="multipart/form-data",
        permit=partial(access.workspace, verb="create", resource=RESOURCE),
    ),
    Route(
        method="GET",
        path="/v1/files",
        handler=list_files,
        family="files",
        summary="List files, newest first",
        answers="list of file",
        query=(
            Query(name="ids", is_list=True, summary=f"At most {IDS_MAX}; without limit and page"),
            Query(name="limit", schema={"type": "integer", "minimum": 1, "maximum": LIMIT_MAX}),
            Query(name="page"),
            Query(name="scope_id", summary="A session's id"),
        ),
    ),
    Route(
        method="GET", path=_FILE, handler=get_file, family="files", summary="Look at a file's metadata", answers="file"
    ),
    Route(
        method="GET",
        path=f"{_FILE}/content",
        handler=download_file,
        family="files",
        summary="Download a file",
        answers="bytes",
        gives="application/octet-stream",
    ),
    Route(
        method="DELETE",
        path=_FILE,
        handler=delete_file,
        family="files",
        summary="Delete a file",
        answers="file_deleted",
    ),
)
"""The public calls of files."""
