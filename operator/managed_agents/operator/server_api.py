"""A thin client of the server's internal API (docs/internal-api.md, "Calls of the operator")."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson

from managed_agents.contracts.errors import (
    ConflictError,
    FencedError,
    ManagedAgentsError,
    NotFoundError,
    RejectedError,
    RetryableError,
)
from managed_agents.operator.actions import OfferHarness, PutSession, RegisterPod, ReportSandbox, WithdrawHarness
from managed_agents.operator.errors import VolumeFullError

REQUEST_SECONDS_MAX = 10.0
WATCH_SILENCE_SECONDS_MAX = 15.0
"""The server sends a heartbeat every 5 s; three missed ones mean a dead connection."""

LINE_BYTES_MAX = 2**20
"""A summary is a few KB; the last message in it is cut at 4 KiB."""

Answer = dict[str, Any]


class ServerApi:
    """Speaks to one server. The token's file is read for each request: the kubelet renews it."""

    def __init__(self, session: aiohttp.ClientSession, *, url: str, token_path: str) -> None:
        self._session = session
        self._url = url
        self._token_path = Path(token_path)

    async def put_session(self, put: PutSession) -> Answer:
        """Create or update a session; returns its summary."""
        body: Answer = {"events": list(put.events), "archived": put.archived}
        if put.intent is not None:
            body["intent"] = put.intent
        if put.config is not None:
            body["config"] = put.config
        return await self._call("PUT", _session_path(put.session_id), body)

    async def get_session(self, session_id: str) -> Answer:
        """Return a summary. Raises: NotFoundError."""
        return await self._call("GET", _session_path(session_id))

    async def delete_session(self, session_id: str, namespace: str) -> None:
        """Delete a session of a namespace; one that is gone is success."""
        try:
            await self._call("DELETE", f"{_session_path(session_id)}?namespace={quote(namespace, safe='')}")
        except NotFoundError:
            return

    async def release(self, session_id: str, epoch: int) -> Answer:
        """Take a session from its harness. Raises: ConflictError while input waits, FencedError on an old epoch."""
        return await self._call("POST", f"{_session_path(session_id)}/release", {"epoch": epoch})

    async def register_pod(self, pod: RegisterPod) -> None:
        """Vouch for a harness Pod."""
        body = {
            "namespace": pod.namespace,
            "pod_name": pod.pod_name,
            "deployment_uid": pod.deployment_uid,
            "session_id": pod.session_id,
        }
        await self._call("PUT", f"/internal/v1/harness-pods/{quote(pod.pod_uid, safe='')}", body)

    async def unregister_pod(self, pod_uid: str) -> None:
        """Withdraw a harness Pod's identity."""
        try:
            await self._call("DELETE", f"/internal/v1/harness-pods/{quote(pod_uid, safe='')}")
        except NotFoundError:
            return

    async def offer_harness(self, offer: OfferHarness) -> None:
        """Vouch for a warm harness Pod. Raises: ConflictError when a session has its Deployment."""
        body = {key: getattr(offer, key) or None for key in ("namespace", "image", "pod_name", "deployment_name")}
        await self._call("PUT", f"{_warm_path(offer.deployment_uid)}/{quote(offer.pod_uid, safe='')}", body)

    async def withdraw_harness(self, withdrawal: WithdrawHarness) -> None:
        """Take warm Pods back. Raises: ConflictError when a session has one."""
        pod = "" if withdrawal.pod_uid is None else f"/{quote(withdrawal.pod_uid, safe='')}"
        await self._call("DELETE", _warm_path(withdrawal.deployment_uid) + pod)

    async def report_sandbox(self, report: ReportSandbox) -> None:
        """Tell what became of a sandbox Pod. Raises: NotFoundError when the server no longer cares."""
        path = f"/internal/v1/sandboxes/{quote(report.namespace, safe='')}/{quote(report.pod_name, safe='')}"
        body = {key: getattr(report, key) for key in ("session_id", "pod_uid", "state", "address", "reason", "message")}
        await self._call("PUT", path, body)

    async def warm_namespaces(self) -> list[str]:
        """Return the namespaces of which the server keeps warm sandboxes, or a pool of them."""
        return [str(item) for item in (await self._call("GET", _WARM_SANDBOXES))["namespaces"]]

    async def warm_sandboxes(self, namespace: str) -> Answer:
        """Return a namespace's pools of sandboxes, and those that no session has."""
        return await self._call("GET", f"{_WARM_SANDBOXES}/{quote(namespace, safe='')}")

    async def put_sandbox_pool(self, namespace: str, environment: str, generation: int, pool: str) -> None:
        """Say which pool is right for a generation of an Environment."""
        await self._call("PUT", _sandbox_pool_path(namespace, environment), {"generation": generation, "pool": pool})

    async def drop_sandbox_pool(self, namespace: str, environment: str) -> None:
        """Let nothing be claimed from an Environment's pool."""
        await self._call("DELETE", _sandbox_pool_path(namespace, environment))

    async def add_warm_sandbox(self, wanted: Mapping[str, Any]) -> Answer:
        """Make the record of a warm sandbox; returns it with the name of its Pod."""
        return await self._call("POST", _WARM_SANDBOXES, wanted)

    async def report_warm_sandbox(self, namespace: str, pod_name: str, pod_uid: str, address: str | None) -> None:
        """Tell where a Pod of a pool is ready, or that it is not. Raises: NotFoundError when it left the pool."""
        body = {"state": "pending" if address is None else "ready", "pod_uid": pod_uid, "address": address}
        await self._call("PUT", _warm_sandbox_path(namespace, pod_name), body)

    async def retire_warm_sandbox(self, namespace: str, pod_name: str) -> bool:
        """Take a sandbox out of its pool; tells whether a session works in its claim.

        Raises: ConflictError while it is a session's.
        """
        return bool((await self._call("DELETE", _warm_sandbox_path(namespace, pod_name)))["is_workspace"])

    async def has_packages(self, namespace: str, digest: str) -> bool:
        """Tell whether the server keeps an archive of packages."""
        try:
            await self._call("GET", _packages_path(namespace, digest))
        except NotFoundError:
            return False
        return True

    async def list_packages(self) -> list[tuple[str, str]]:
        """Return namespace and hash of all archives of packages."""
        found = await self._call("GET", "/internal/v1/packages")
        return [(str(item["namespace"]), str(item["digest"])) for item in found["packages"]]

    async def remove_packages(self, namespace: str, digest: str) -> None:
        """Remove an archive; one that is gone is success."""
        await self._call("DELETE", _packages_path(namespace, digest))

    async def register_package_pod(self, pod_uid: str, namespace: str, digest: str) -> None:
        """Vouch for a Pod that installs packages."""
        body = {"namespace": namespace, "digest": digest}
        await self._call("PUT", f"/internal/v1/package-pods/{quote(pod_uid, safe='')}", body)

    async def unregister_package_pod(self, pod_uid: str) -> None:
        """Withdraw its identity."""
        await self._call("DELETE", f"/internal/v1/package-pods/{quote(pod_uid, safe='')}")

    async def watch(self) -> AsyncIterator[Answer]:
        """Yield the lines of the endless watch. Raises: RetryableError when it ends or falls silent."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=WATCH_SILENCE_SECONDS_MAX)
        try:
            async with self._session.get(
                f"{self._url}/internal/v1/watch", headers=self._headers(), timeout=timeout, read_bufsize=LINE_BYTES_MAX
            ) as response:
                if response.status != 200:
                    raise _error(response.status, await response.read(), "GET /internal/v1/watch")
                async for line in response.content:
                    if line.strip():
                        yield orjson.loads(line)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as failure:
            raise RetryableError(f"watch of the server ended: {failure!r}") from failure
        raise RetryableError("the server closed its watch")

    async def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Answer:
        data = None if body is None else orjson.dumps(body)
        try:
            async with self._session.request(
                method,
                self._url + path,
                data=data,
                headers=self._headers(),
                timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS_MAX),
            ) as response:
                content = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as failure:
            raise RetryableError(f"{method} {path}: the server did not answer: {failure!r}") from failure
        if response.status >= 400:
            raise _error(response.status, content, f"{method} {path}")
        decoded = orjson.loads(content) if content else {}
        return decoded if isinstance(decoded, dict) else {}

    def _headers(self) -> dict[str, str]:
        token = self._token_path.read_text().strip() if self._token_path.exists() else ""
        return {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}


def _session_path(session_id: str) -> str:
    return f"/internal/v1/sessions/{quote(session_id, safe='')}"


def _warm_path(deployment_uid: str) -> str:
    return f"/internal/v1/warm-harnesses/{quote(deployment_uid, safe='')}"


_WARM_SANDBOXES = "/internal/v1/warm-sandboxes"


def _sandbox_pool_path(namespace: str, environment: str) -> str:
    return f"/internal/v1/sandbox-pools/{quote(namespace, safe='')}/{quote(environment, safe='')}"


def _warm_sandbox_path(namespace: str, pod_name: str) -> str:
    return f"{_WARM_SANDBOXES}/{quote(namespace, safe='')}/{quote(pod_name, safe='')}"


def _packages_path(namespace: str, digest: str) -> str:
    return f"/internal/v1/packages/{quote(namespace, safe='')}/{quote(digest, safe='')}"


def _error(status: int, content: bytes, call: str) -> ManagedAgentsError:
    try:
        error = orjson.loads(content).get("error") or {}
    except (orjson.JSONDecodeError, AttributeError):
        error = {}
    kind = str(error.get("type") or "")
    message = f"{call}: {status} {kind}: {error.get('message') or 'no message'}"
    match status, kind:
        case 404, _:
            return NotFoundError(message)
        case 409, "fenced":
            return FencedError(message)
        case ((409 | 412), _):
            return ConflictError(message)
        case ((400 | 413 | 422), _):
            return RejectedError(message)
        case _, "volume_full":
            return VolumeFullError(message)
        case _:  # 401 and 403 too: the token or its review is a moment late, never a user's fault
            return RetryableError(message)
