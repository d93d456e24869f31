"""A thin client of the kube-apiserver: raw JSON in and out, no typed models (they cost 29 times `json.loads`).

It knows paths, patch types, preconditions and the mapping of errors, and nothing of what the objects mean.
"""

import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import aiohttp
import orjson

from managed_agents.contracts.errors import ConflictError, RejectedError, RetryableError
from managed_agents.kube.access import KubeAccess
from managed_agents.kube.errors import ForbiddenError, error_for
from managed_agents.kube.resources import Manifest, Resource

REQUEST_SECONDS_MAX = 15.0
"""One request; the kube-apiserver's own limit is 60 s, but a worker of ours must not wait that long."""

_TIMEOUT = aiohttp.ClientTimeout(total=REQUEST_SECONDS_MAX)

WATCH_SECONDS = 300
"""The kube-apiserver ends a watch after this long, and the next one goes on where it stopped."""

_WATCH_TIMEOUT = aiohttp.ClientTimeout(total=WATCH_SECONDS + 30, sock_connect=10, sock_read=75)
"""Bookmarks come every minute, so a longer silence is a dead connection."""

OBJECT_BYTES_MAX = 4 * 1024 * 1024
"""One line of a watch: etcd holds 1.5 MiB, and JSON may write it longer."""

PAGE_SIZE = 500
"""Objects in one page of a LIST, as client-go's default pager."""

_JSON = "application/json"
_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


class Kube:
    """Calls one kube-apiserver over a shared pool of connections, as the field manager `manager`."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        access: KubeAccess,
        *,
        manager: str,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._http = http
        self._manager = manager
        self._access = access
        self._ssl = ssl_context or access.ssl_context()

    async def get(self, resource: Resource, namespace: str, name: str, *, metadata_only: bool = False) -> Manifest:
        """Read one object from quorum. Raises: NotFoundError, RetryableError, ForbiddenError."""
        accept = _METADATA if metadata_only else _JSON
        return await self._call("GET", resource.path(namespace, name), accept=accept)

    async def pages(
        self,
        resource: Resource,
        *,
        namespace: str | None = None,
        labels: str | None = None,
        metadata_only: bool = False,
    ) -> AsyncIterator[Manifest]:
        """List objects page by page from one consistent snapshot. Raises: GoneError when it takes too long."""
        query = {"limit": str(PAGE_SIZE)} | ({"labelSelector": labels} if labels else {})
        accept = _METADATA_LIST if metadata_only else _JSON
        while True:
            page = await self._call("GET", resource.path(namespace), query=query, accept=accept)
            for item in page.get("items") or []:
                yield item
            token = (page.get("metadata") or {}).get("continue")
            if not token:
                return
            query["continue"] = token

    async def list(self, resource: Resource, *, namespace: str, labels: str | None = None) -> list[Manifest]:
        """List the objects of one namespace."""
        return [item async for item in self.pages(resource, namespace=namespace, labels=labels)]

    async def count(self, resource: Resource) -> int:
        """Count the objects of all namespaces, reading the metadata of one."""
        page = await self._call("GET", resource.path(), query={"limit": "1"}, accept=_METADATA_LIST)
        return len(page.get("items") or []) + int((page.get("metadata") or {}).get("remainingItemCount") or 0)

    async def page(
        self, resource: Resource, *, labels: str | None = None, token: str | None = None
    ) -> tuple[Sequence[Manifest], str | None, str]:
        """Return objects of all namespaces, the token of the next page and the list's resourceVersion."""
        query = {"limit": str(PAGE_SIZE)}
        query |= {"labelSelector": labels} if labels else {}
        query |= {"continue": token} if token else {}
        page = await self._call("GET", resource.path(), query=query)
        metadata = page.get("metadata") or {}
        return page.get("items") or [], metadata.get("continue") or None, str(metadata.get("resourceVersion") or "")

    async def watch(self, resource: Resource, *, version: str, labels: str | None = None) -> AsyncIterator[Manifest]:
        """Yield the changes of all namespaces since a resourceVersion, as `{"type", "object"}`, until the server ends.

        Raises: GoneError when the version is too old, RetryableError when the connection breaks or falls silent.
        """
        query = {"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": version}
        query |= {"labelSelector": labels} if labels else {}
        query["timeoutSeconds"] = str(WATCH_SECONDS)
        path = resource.path()
        try:
            async with self._http.get(
                self._access.url + path,
                params=query,
                headers=self._headers(_JSON),
                ssl=self._ssl if self._ssl is not None else True,
                timeout=_WATCH_TIMEOUT,
                read_bufsize=OBJECT_BYTES_MAX,
            ) as response:
                if response.status >= 400:
                    raise _refusal(response, await response.read(), f"WATCH {path}")
                async for line in response.content:
                    yield _change(line, path)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as failure:
            raise RetryableError(f"WATCH {path}: {failure!r}") from failure

    async def create(self, resource: Resource, namespace: str, body: Manifest) -> Manifest:
        """Create an object. Raises: AlreadyExistsError, ForbiddenError, RejectedError, RetryableError."""
        return await self._call("POST", resource.path(namespace), body=body, query={"fieldManager": self._manager})

    async def apply(
        self, resource: Resource, namespace: str, name: str, body: Manifest, *, subresource: str | None = None
    ) -> Manifest:
        """Apply by server-side apply; we own the fields that we name, by force."""
        return await self._call(
            "PATCH",
            resource.path(namespace, name, subresource),
            body={"apiVersion": resource.api_version, "kind": resource.kind} | body,
            query={"fieldManager": self._manager, "force": "true"},
            content_type="application/apply-patch+yaml",
        )

    async def merge(self, resource: Resource, namespace: str, name: str, body: Manifest) -> Manifest:
        """Patch by JSON merge; with `metadata.resourceVersion` in it, a stale view is refused (ConflictError)."""
        return await self._call(
            "PATCH",
            resource.path(namespace, name),
            body=body,
            query={"fieldManager": self._manager},
            content_type="application/merge-patch+json",
        )

    async def patch_json(self, resource: Resource, namespace: str, name: str, operations: Sequence[Manifest]) -> None:
        """Patch by JSON patch (RFC 6902), whose `test` makes it a compare-and-swap; what it answers with is dropped.

        Raises: ConflictError where a `test` fails or a path is not there: the kube-apiserver answers 422 to both.
        """
        try:
            await self._call(
                "PATCH",
                resource.path(namespace, name),
                body=operations,
                query={"fieldManager": self._manager},
                content_type="application/json-patch+json",
            )
        except ForbiddenError:
            raise
        except RejectedError as refusal:
            raise ConflictError(refusal.message) from None

    async def replace(self, resource: Resource, namespace: str, name: str, body: Manifest) -> Manifest:
        """Replace an object at its resourceVersion. Raises: ConflictError when it has moved on."""
        return await self._call("PUT", resource.path(namespace, name), body=body, query={"fieldManager": self._manager})

    async def delete(
        self, resource: Resource, namespace: str, name: str, *, uid: str, grace_seconds: int | None = None
    ) -> Manifest:
        """Delete exactly the object of that UID; answers the object while it ends, else a Status.

        Raises: NotFoundError, ConflictError when the name is another's by now.
        """
        body: Manifest = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid},
            "propagationPolicy": "Background",
        }
        if grace_seconds is not None:
            body["gracePeriodSeconds"] = grace_seconds
        return await self._call("DELETE", resource.path(namespace, name), body=body)

    async def _call(
        self,
        method: str,
        path: str,
        *,
        body: Manifest | Sequence[Manifest] | None = None,
        query: Mapping[str, str] | None = None,
        content_type: str = _JSON,
        accept: str = _JSON,
    ) -> Manifest:
        headers = self._headers(accept) | {"Content-Type": content_type}
        try:
            async with self._http.request(
                method,
                self._access.url + path,
                params=query,
                headers=headers,
                data=None if body is None else orjson.dumps(body),
                ssl=self._ssl if self._ssl is not None else True,
                timeout=_TIMEOUT,
            ) as response:
                content = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as failure:
            raise RetryableError(f"{method} {path}: kube-apiserver did not answer: {failure!r}") from failure
        if response.status >= 400:
            raise _refusal(response, content, f"{method} {path}")
        decoded: Any = orjson.loads(content)
        return decoded if isinstance(decoded, dict) else {}

    def _headers(self, accept: str) -> dict[str, str]:
        token = self._access.token
        return {"Accept": accept} | ({} if token is None else {"Authorization": f"Bearer {token}"})


def _change(line: bytes, path: str) -> Manifest:
    change: Manifest = orjson.loads(line)
    if change["type"] == "ERROR":
        status = change["object"]
        message = f"WATCH {path}: {status.get('message')}"
        raise error_for(int(status.get("code") or 500), str(status.get("reason") or ""), message, None)
    return change


def _refusal(response: aiohttp.ClientResponse, content: bytes, call: str) -> Exception:
    try:
        status = orjson.loads(content)
    except orjson.JSONDecodeError:
        status = {}
    reason = str(status.get("reason") or "")
    message = str(status.get("message") or response.reason or "no message")
    delay = (status.get("details") or {}).get("retryAfterSeconds") or response.headers.get("Retry-After")
    seconds = float(str(delay)) if str(delay).isdigit() else None
    return error_for(response.status, reason, f"{call}: {message}", seconds)
