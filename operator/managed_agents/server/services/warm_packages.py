"""Brings an Environment's packages into its warm sandboxes, before a session claims one (docs/packages.md).

The server keeps the archives and the one-time tokens, and the NetworkPolicy of sandboxes admits it: so a claim finds
the packages unpacked. A Pod is free once it says that they are; until then it is asked again.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import aiohttp
import orjson
import structlog

from managed_agents.contracts.errors import ManagedAgentsError
from managed_agents.eventlog.store import EventLog
from managed_agents.eventlog.warm_sandboxes import WarmSandbox
from managed_agents.server.services.packages import Archive, PackageStore

TRANSFERS_MAX = 2
"""Archives on their way at once: each is up to 4 GiB from the volume that the event log lies on."""

RETRY_SECONDS = 5.0
"""How long until a Pod that could not be supplied is tried again."""

ANSWER_BYTES_MAX = 64 * 1024
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=5.0, sock_read=600.0)
"""The answer begins once all is unpacked, so silence lasts as long as the archive is large."""

_log = structlog.get_logger(__name__)


class SupplyError(Exception):
    """A Pod did not take its packages; the text says why."""


class WarmPackages:
    """Supplies the Pods of all pools. A restart asks each that is not free what it has."""

    def __init__(self, log: EventLog, store: PackageStore) -> None:
        self._log = log
        self._store = store
        self._wake = asyncio.Event()
        self._transfers = asyncio.Semaphore(TRANSFERS_MAX)
        self._under_way: dict[str, asyncio.Task[None]] = {}

    def look(self) -> None:
        """Look for Pods that wait, now: one has become ready."""
        self._wake.set()

    async def run(self) -> None:
        """Supply until cancelled."""
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as http:
            try:
                while True:
                    self._wake.clear()  # before the look, so that a Pod that comes meanwhile is seen
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(RETRY_SECONDS if await self._start(http) else None):
                            await self._wake.wait()
            finally:
                await self._stop()

    async def _start(self, http: aiohttp.ClientSession) -> bool:
        """Begin with each Pod that waits and is not at it; tell whether any waits."""
        try:
            waiting = await self._log.warm.without_packages()
        except ManagedAgentsError:  # the log is closing, or full
            return True
        for sandbox in waiting:
            key = f"{sandbox.namespace}/{sandbox.pod_name}/{sandbox.pod_uid}"
            if key not in self._under_way:
                task = asyncio.create_task(self._supply(http, sandbox))
                self._under_way[key] = task
                task.add_done_callback(partial(self._ended, key))
        return bool(waiting)

    def _ended(self, key: str, _: "asyncio.Task[None]") -> None:
        del self._under_way[key]

    async def _stop(self) -> None:
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _supply(self, http: aiohttp.ClientSession, sandbox: WarmSandbox) -> None:
        try:
            async with self._transfers:
                await self._bring(http, sandbox)
            await self._log.warm.supplied(sandbox.namespace, sandbox.pod_name, sandbox.pod_uid or "")
        except (SupplyError, ManagedAgentsError, aiohttp.ClientError, TimeoutError, OSError) as failure:
            reason = str(failure) or type(failure).__name__
            _log.warning("packages_not_brought", namespace=sandbox.namespace, pod=sandbox.pod_name, error=reason)

    async def _bring(self, http: aiohttp.ClientSession, sandbox: WarmSandbox) -> None:
        """See that a Pod has its packages. Raises: SupplyError, NotFoundError, what the connection raises."""
        url, digest = f"http://{sandbox.address}/packages", str(sandbox.packages)
        headers = {"Authorization": f"Bearer {sandbox.bind_token}"}
        async with http.get(url, headers=headers, allow_redirects=False) as answer:
            said = await _answer(answer)
        if said.get("digest") != digest:
            raise SupplyError("the Pod wants other packages than its record says")
        if said.get("is_there") is True:
            return
        archive = Archive(namespace=sandbox.namespace, digest=digest)
        size = await self._store.size(archive)
        await _send(http, f"{url}/{digest}", headers | {"Content-Length": str(size)}, self._store.path(archive))


async def _send(http: aiohttp.ClientSession, url: str, headers: Mapping[str, str], path: Path) -> None:
    file = await asyncio.to_thread(path.open, "rb")
    try:
        async with http.put(url, headers=headers, data=file, allow_redirects=False) as answer:
            if (await _answer(answer)).get("is_there") is not True:
                raise SupplyError("the Pod took the packages and does not have them")
    finally:
        await asyncio.to_thread(file.close)


async def _answer(answer: aiohttp.ClientResponse) -> dict[str, object]:
    """Return the answer's object. Raises: SupplyError for a refusal, and for what is no such object."""
    try:
        said = orjson.loads(await answer.content.read(ANSWER_BYTES_MAX))
    except orjson.JSONDecodeError:
        said = None
    if not isinstance(said, dict):
        raise SupplyError(f"status {answer.status}: the answer is no object of JSON")
    if answer.status != 200:
        raise SupplyError(f"status {answer.status}: {said.get('error')}")
    return said
