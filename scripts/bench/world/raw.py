"""The kube-apiserver without any help: dry runs, metrics, and the moments at which objects change."""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import aiohttp

from managed_agents.kube.access import KubeAccess
from managed_agents.kube.client import Kube
from managed_agents.kube.resources import Manifest, Resource

WATCHED_SECONDS = 180.0

Reached = Callable[[Manifest], bool]


class Raw:
    """Requests as the administrator of the cluster, over kept connections."""

    def __init__(self, http: aiohttp.ClientSession, access: KubeAccess) -> None:
        self._http, self._access = http, access
        self._ssl: ssl.SSLContext | bool = access.ssl_context() or True

    async def text(self, path: str) -> str:
        """GET a path."""
        async with self._http.get(self._access.url + path, ssl=self._ssl, headers=self._headers()) as answer:
            answer.raise_for_status()
            return await answer.text()

    async def dry_run(self, path: str, body: bytes) -> None:
        """POST an object that is admitted and not stored. Raises: RuntimeError with the kube-apiserver's words."""
        headers = {"Content-Type": "application/json", **self._headers()}
        url = f"{self._access.url}{path}?dryRun=All&fieldValidation=Strict"
        async with self._http.post(url, data=body, ssl=self._ssl, headers=headers) as answer:
            if answer.status >= 400:
                raise RuntimeError(f"{path}: {answer.status} {(await answer.text())[:500]}")
            await answer.read()

    async def stored_bytes(self, path: str) -> list[int]:
        """Return the size of each object of a list as etcd holds it: custom resources are stored as JSON."""
        items = json.loads(await self.text(path))["items"]
        return [len(json.dumps(item, separators=(",", ":"))) for item in items]

    def _headers(self) -> Mapping[str, str]:
        token = self._access.token
        return {"Authorization": f"Bearer {token}"} if token else {}


class Sightings:
    """When a watch first showed an object, by name, in the state that was looked for."""

    def __init__(self, reached: Reached) -> None:
        self.at: dict[str, float] = {}
        self._reached = reached
        self._changed = asyncio.Event()

    def look(self, manifest: Manifest) -> None:
        """Take one change."""
        name = manifest["metadata"]["name"]
        if name not in self.at and self._reached(manifest):
            self.at[name] = time.monotonic()
            self._changed.set()
            self._changed = asyncio.Event()

    async def seen(self, name: str) -> float:
        """Wait for the sighting of one object. Raises: TimeoutError."""
        async with asyncio.timeout(WATCHED_SECONDS):
            while name not in self.at:
                await self._changed.wait()
        return self.at[name]

    async def count(self, number: int) -> None:
        """Wait for that many sightings. Raises: TimeoutError."""
        async with asyncio.timeout(WATCHED_SECONDS):
            while len(self.at) < number:
                await self._changed.wait()


@asynccontextmanager
async def sightings(
    kube: Kube, resource: Resource, reached: Reached, *, labels: str | None = None
) -> AsyncIterator[Sightings]:
    """Watch a resource in all namespaces until the block ends."""
    _, _, version = await kube.page(resource, labels=labels)
    found = Sightings(reached)

    async def follow() -> None:
        async for change in kube.watch(resource, version=version, labels=labels):
            if change["type"] in {"ADDED", "MODIFIED"}:
                found.look(change["object"])

    following = asyncio.create_task(follow())
    try:
        yield found
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
