"""The fake kube-apiserver's HTTP face: discovery, lists in pages, watches, patches, faults on demand, RBAC by data."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from support.kube import KINDS, ApiError, Change, FakeKube, Kind, Manifest, matches

WRITES = frozenset({"create", "patch", "update", "delete"})


@dataclass(frozen=True)
class Call:
    """One request, in RBAC's words. `resource` includes the subresource."""

    verb: str
    group: str
    resource: str
    namespace: str
    name: str

    @property
    def is_write(self) -> bool:
        return self.verb in WRITES


@dataclass
class Fault:
    """Answer matching calls with an error, `times` times. `after_commit`: do it, and lose the answer."""

    matches: Callable[[Call], bool]
    error: ApiError
    times: int = 1
    after_commit: bool = False


@dataclass
class FakeApiServer:
    """Serves a `FakeKube`. `allowed`: (group, resource, verb) that may be used; all where it is None."""

    kube: FakeKube
    allowed: frozenset[tuple[str, str, str]] | None = None
    faults: list[Fault] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    url: str = ""
    page_size: int | None = None
    drop_watch: Callable[[Change], bool] = lambda _: False
    watches: list[asyncio.Queue[Change | None]] = field(default_factory=list)

    def end_watches(self) -> None:
        """Close every watch, as a restart of the kube-apiserver does."""
        for waiting in self.watches:
            waiting.put_nowait(None)

    def fail(self, verb: str, resource: str, error: ApiError, *, times: int = 1, after_commit: bool = False) -> None:
        """Make the next calls of that verb and resource fail."""
        fault = Fault(lambda call: (call.verb, call.resource) == (verb, resource), error, times, after_commit)
        self.faults.append(fault)

    def writes(self) -> list[Call]:
        """The writes so far, Kubernetes Events and the Lease apart."""
        return [call for call in self.calls if call.is_write and call.resource not in ("events", "leases")]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        parts = [part for part in request.path.split("/") if part]
        try:
            if (found := _discovered(parts)) is not None:
                return web.json_response(found)
            kind, namespace, name, subresource = _parsed(parts)
            call = Call(_verb(request, name), kind.group, _resource(kind, subresource), namespace or "", name or "")
            self.calls.append(call)
            self._authorise(call)
            fault = self._fault(call)
            if fault is not None and not fault.after_commit:
                raise fault.error
            if call.verb == "watch":
                return await self._watch(request, kind, namespace)
            body = await request.json() if request.can_read_body else {}
            answer = self._run(request, kind, call, subresource, body)
            if fault is not None:
                raise fault.error
            return web.json_response(answer, status=201 if call.verb == "create" else 200)
        except ApiError as error:
            return web.json_response(error.status(), status=error.code)

    def _authorise(self, call: Call) -> None:
        if self.allowed is not None and (call.group, call.resource, call.verb) not in self.allowed:
            raise ApiError(403, "Forbidden", f"may not {call.verb} {call.resource} in {call.group!r}")

    def _fault(self, call: Call) -> Fault | None:
        for fault in self.faults:
            if fault.times > 0 and fault.matches(call):
                fault.times -= 1
                return fault
        return None

    def _run(self, request: web.Request, kind: Kind, call: Call, subresource: str | None, body: Any) -> Manifest:
        kube, namespace, name = self.kube, call.namespace, call.name
        match call.verb:
            case "get":
                return kube.get(kind.plural, namespace, name)
            case "list":
                return self._page(request, kind, namespace or None)
            case "create":
                return kube.create(kind, namespace, body)
            case "update":
                return kube.replace(kind, namespace, name, body, subresource)
            case "patch" if "apply-patch" in request.content_type:
                manager = request.query["fieldManager"]
                return kube.apply(kind, namespace, name, body, manager, subresource)
            case "patch" if request.content_type == "application/json-patch+json":
                return kube.merge(kind, namespace, name, _from_json_patch(kube.get(kind.plural, namespace, name), body))
            case "patch":
                return kube.merge(kind, namespace, name, body)
            case _:
                return kube.delete(kind, namespace, name, body)

    def _page(self, request: web.Request, kind: Kind, namespace: str | None) -> Manifest:
        items = self.kube.list(kind.plural, namespace, request.query.get("labelSelector"))
        start = int(request.query.get("continue") or 0)
        limit = self.page_size or int(request.query.get("limit") or 0) or len(items)
        page, left = items[start : start + limit], len(items) - start - limit
        more = {"continue": str(start + limit), "remainingItemCount": left} if left > 0 else {}
        metadata = {"resourceVersion": str(self.kube.version), **more}
        return {"kind": f"{kind.kind}List", "apiVersion": kind.api_version, "metadata": metadata, "items": page}

    async def _watch(self, request: web.Request, kind: Kind, namespace: str | None) -> web.StreamResponse:
        since = int(request.query.get("resourceVersion") or 0)
        if since < self.kube.oldest:
            return await _expired(request)
        waiting: asyncio.Queue[Change | None] = asyncio.Queue()
        self.watches.append(waiting)
        for past in self.kube.history:
            if past.version > since:
                waiting.put_nowait(past)
        self.kube.listeners.append(waiting.put_nowait)
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while (change := await waiting.get()) is not None:
                if change.plural != kind.plural or self.drop_watch(change):
                    continue
                if namespace not in (None, "", change.object["metadata"]["namespace"]):
                    continue
                if matches(change.object, request.query.get("labelSelector")):
                    line = {"type": change.type, "object": change.object}
                    await response.write(json.dumps(line).encode() + b"\n")
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.kube.listeners.remove(waiting.put_nowait)
            self.watches.remove(waiting)
        return response


async def _expired(request: web.Request) -> web.StreamResponse:
    """Say that a version is too old as the kube-apiserver does: within the stream, the answer itself being 200."""
    response = web.StreamResponse()
    await response.prepare(request)
    error = ApiError(410, "Expired", "too old resource version").status()
    await response.write(json.dumps({"type": "ERROR", "object": error}).encode() + b"\n")
    return response


@contextlib.asynccontextmanager
async def serving(server: FakeApiServer) -> AsyncIterator[FakeApiServer]:
    """Serve on a free loopback port."""
    app = web.Application(client_max_size=2**24)
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()


def _discovered(parts: list[str]) -> Manifest | None:
    match parts:
        case ["api"]:
            return {"versions": ["v1"]}
        case ["version"]:
            return {"major": "1", "minor": "34"}
        case ["apis"]:
            groups = sorted({(kind.group, kind.version) for kind in (*KINDS, *_CLUSTER_KINDS) if kind.group})
            listed = [
                {
                    "name": group,
                    "versions": [{"groupVersion": f"{group}/{version}", "version": version}],
                    "preferredVersion": {"groupVersion": f"{group}/{version}", "version": version},
                }
                for group, version in groups
            ]
            return {"kind": "APIGroupList", "groups": listed}
        case ["api", "v1"]:
            return _resources("", "v1")
        case ["apis", group, version]:
            return _resources(group, version)
    return None


_CLUSTER_KINDS = (
    Kind("", "v1", "namespaces", "Namespace"),
    Kind("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition"),
)
"""Discovered, never served: kopf waits until it has seen that they exist."""


def _resources(group: str, version: str) -> Manifest:
    verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
    listed: list[Manifest] = []
    for kind in KINDS:
        if (kind.group, kind.version) == (group, version):
            names = {"name": kind.plural, "singularName": kind.kind.lower(), "kind": kind.kind}
            listed.append({**names, "namespaced": True, "verbs": verbs})
            if kind.has_status:
                listed.append({**names, "name": f"{kind.plural}/status", "namespaced": True, "verbs": ["get", "patch"]})
    for kind in _CLUSTER_KINDS:
        if (kind.group, kind.version) == (group, version):
            names = {"name": kind.plural, "singularName": kind.kind.lower(), "kind": kind.kind}
            listed.append({**names, "namespaced": False, "verbs": verbs})
    return {"kind": "APIResourceList", "groupVersion": f"{group}/{version}".strip("/"), "resources": listed}


def _parsed(parts: list[str]) -> tuple[Kind, str | None, str | None, str | None]:
    group, rest = ("", parts[2:]) if parts[0] == "api" else (parts[1], parts[3:])
    namespace = None
    if rest[0] == "namespaces" and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    for kind in KINDS:
        if (kind.group, kind.plural) == (group, rest[0]):
            return kind, namespace, rest[1] if len(rest) > 1 else None, rest[2] if len(rest) > 2 else None
    raise ApiError(404, "NotFound", f"the server could not find {'/'.join(parts)}")


def _resource(kind: Kind, subresource: str | None) -> str:
    return f"{kind.plural}/{subresource}" if subresource else kind.plural


def _verb(request: web.Request, name: str | None) -> str:
    if request.method == "GET":
        if name is not None:
            return "get"
        return "watch" if request.query.get("watch") in ("true", "1") else "list"
    return {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}[request.method]


def _from_json_patch(target: Manifest, operations: list[Manifest]) -> Manifest:
    """Turn the `add`, `replace`, `remove` and `test` of kopf's patches into a merge patch."""
    patch: Manifest = {}
    for operation in operations:
        path = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
        if operation["op"] == "test":
            value: Any = target
            for part in path:
                value = value.get(part) if isinstance(value, dict) else None
            if value != operation["value"]:
                raise ApiError(422, "Invalid", "test failed")
            continue
        level = patch
        for part in path[:-1]:
            level = level.setdefault(part, {})
        level[path[-1]] = None if operation["op"] == "remove" else operation["value"]
    return patch
