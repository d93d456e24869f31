"""The internal calls by which an Environment's packages are kept and reach its sandboxes (docs/internal-api.md)."""

from aiohttp import web

from managed_agents.server.context import context_of
from managed_agents.server.middleware import json_response
from managed_agents.server.routes import access, bodies
from managed_agents.server.routes.files import body_chunks
from managed_agents.server.services.packages import Archive, PackageStore

_ARCHIVE = "/internal/v1/packages/{namespace}/{digest}"


_STORE = web.AppKey("packages", PackageStore)


def add_routes(app: web.Application, store: PackageStore) -> None:
    """Add the calls."""
    app[_STORE] = store
    app.router.add_get("/internal/v1/packages", list_archives)
    app.router.add_get(_ARCHIVE, get_archive, allow_head=False)
    app.router.add_put(_ARCHIVE, put_archive)
    app.router.add_delete(_ARCHIVE, delete_archive)
    app.router.add_put("/internal/v1/package-pods/{pod_uid}", put_pod)
    app.router.add_delete("/internal/v1/package-pods/{pod_uid}", delete_pod)
    app.router.add_get("/internal/v1/sessions/{session_id}/packages/{digest}", get_content, allow_head=False)


async def list_archives(request: web.Request) -> web.Response:
    """List all archives, for the operator."""
    await access.operator(request)
    found = await _store(request).listed()
    return json_response({"packages": [{"namespace": one.namespace, "digest": one.digest} for one in found]})


async def get_archive(request: web.Request) -> web.Response:
    """Tell the operator how large an archive is. Raises: NotFoundError."""
    await access.operator(request)
    return json_response({"size_bytes": await _store(request).size(_archive(request))})


async def put_archive(request: web.Request) -> web.Response:
    """Take in an archive from the Pod that is registered for it."""
    pod_uid = await access.harness_pod_uid(request)
    packages, archive = _store(request), _archive(request)
    packages.check_registered(pod_uid, archive)
    return json_response({"size_bytes": await packages.receive(archive, pod_uid, body_chunks(request))})


async def delete_archive(request: web.Request) -> web.Response:
    """Remove an archive that no Environment refers to."""
    await access.operator(request)
    await _store(request).remove(_archive(request))
    return web.Response(status=204)


async def put_pod(request: web.Request) -> web.Response:
    """Register a Pod that installs."""
    await access.operator(request)
    body = await bodies.json_object(request)
    archive = Archive(namespace=bodies.text(body, "namespace"), digest=bodies.text(body, "digest"))
    packages = _store(request)
    packages.path(archive)
    packages.register(request.match_info["pod_uid"], archive)
    return web.Response(status=204)


async def delete_pod(request: web.Request) -> web.Response:
    """Forget a Pod that installed."""
    await access.operator(request)
    _store(request).unregister(request.match_info["pod_uid"])
    return web.Response(status=204)


async def get_content(request: web.Request) -> web.StreamResponse:
    """Send an archive of the session's namespace to its harness Pod. Raises: NotFoundError."""
    session_id = await access.harness(request)
    context = context_of(request)
    session = await context.log.session(session_id)
    archive = Archive(namespace=session.namespace, digest=request.match_info["digest"])
    await _store(request).size(archive)
    return web.FileResponse(_store(request).path(archive), headers={"Content-Type": "application/gzip"})


def _store(request: web.Request) -> PackageStore:
    return request.config_dict[_STORE]


def _archive(request: web.Request) -> Archive:
    return Archive(namespace=request.match_info["namespace"], digest=request.match_info["digest"])
