"""The internal calls by which a session's files reach its sandbox, and what its tools leave becomes Files."""

from aiohttp import web

from managed_agents.contracts.errors import ConflictError, NotFoundError
from managed_agents.eventlog.records import Slice
from managed_agents.filestore.records import Draft, File
from managed_agents.server.context import Context, context_of
from managed_agents.server.middleware import json_response
from managed_agents.server.routes import access
from managed_agents.server.routes.files import body_chunks, check_length, send_content
from managed_agents.server.services.files import mime_type_of, output_path_of

CLIENT_CONTENT = ("user.message", "user.tool_result", "user.custom_tool_result", "user.define_outcome")
"""The client events that may name a file."""

VERSION_LENGTH_MAX = 256


def add_routes(app: web.Application) -> None:
    """Add the calls."""
    app.router.add_get("/internal/v1/sessions/{session_id}/files/{file_id}/content", get_content)
    app.router.add_get("/internal/v1/sessions/{session_id}/outputs", list_outputs)
    app.router.add_put("/internal/v1/sessions/{session_id}/outputs", put_output)
    app.router.add_post("/internal/v1/sessions/{session_id}/sandbox/{pod_name}/collected", end_last_look)


async def get_content(request: web.Request) -> web.StreamResponse:
    """Stream a file that the session may use, downloadable or not."""
    session_id = await access.harness(request)
    context = context_of(request)
    file = await context.files.get(request.match_info["file_id"])
    session = await context.log.session(session_id)
    if file.namespace != session.namespace or not await _is_the_sessions(context, session_id, file):
        raise NotFoundError(f"file {file.id} not found")
    return await send_content(request, file)


async def list_outputs(request: web.Request) -> web.Response:
    """Return what is stored of a session's outputs."""
    session_id = (await access.collector(request)).session_id
    outputs = await context_of(request).files.outputs(session_id)
    return json_response({"outputs": [_output(file) for file in outputs]})


async def put_output(request: web.Request) -> web.Response:
    """Store an output under its path. The same bytes keep their File; other bytes get a new one in its place."""
    by = await access.collector(request)
    session_id = by.session_id
    context = context_of(request)
    path = output_path_of(request.query.get("path"))
    version = request.query.get("version", "")[:VERSION_LENGTH_MAX]
    check_length(request, context.files, 0)
    session = await context.log.session(session_id)
    async with context.files.receive(session.namespace, may_replace=True) as incoming:
        async for chunk in body_chunks(request):
            await incoming.write(chunk)
        whole = await incoming.whole()
        known = {file.path: file for file in await context.files.outputs(session_id)}.get(path)
        if known is not None and known.content is not None and known.sha256 == whole.sha256:
            return json_response(_output(await context.files.note_version(known, version)))
        if known is not None and by.look is not None and known.created_at >= by.look.since:
            raise ConflictError(f"{path}: a later sandbox of the session has left another file there")
        draft = Draft(
            namespace=session.namespace,
            filename=path,
            mime_type=mime_type_of(None, path),
            origin="output",
            session=session_id,
            path=path,
            version=version,
        )
        return json_response(_output(await context.files.add(incoming, draft)))


async def end_last_look(request: web.Request) -> web.Response:
    """Note that nothing more will be copied from a sandbox that was given up: its Pod may go."""
    session_id = (await access.collector(request)).session_id
    context_of(request).leases.last_looks.done(session_id, request.match_info["pod_name"])
    return json_response({})


def _output(file: File) -> dict[str, object]:
    return {"path": file.path, "version": file.version, "size_bytes": file.size_bytes, "file_id": file.id}


async def _is_the_sessions(context: Context, session_id: str, file: File) -> bool:
    """Tell whether a file of its namespace is a session's: nobody else's, its own, or named to it by a client."""
    if file.session in (None, session_id):
        return True
    config = await context.log.config(session_id)
    if any(resource.get("file_id") == file.id for resource in config.get("resources") or []):
        return True
    return await _is_named(context, session_id, file.id)


async def _is_named(context: Context, session_id: str, file_id: str) -> bool:
    """Look for a file in what clients sent."""
    needle, after = f'"file_id":"{file_id}"'.encode(), 0
    while events := await context.log.read(session_id, Slice(after=after, types=CLIENT_CONTENT)):
        if any(needle in event.body for event in events):
            return True
        after = events[-1].position
    return False
