"""The kube-apiserver as an administrator and as a kubelet ask it: JSON over kept connections."""

import json
import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp

from managed_agents.contracts.ports import SERVER_AUDIENCE
from managed_agents.kube.access import KubeAccess

LINE_BYTES_MAX = 4 * 1024 * 1024
_AS_KUBELET = (("Impersonate-User", "kubelet"), *(("Impersonate-Group", f"system:{x}") for x in ("nodes", "masters")))

Json = dict[str, Any]


class Raw:
    """Requests with the administrator's token. Raises: RuntimeError with the kube-apiserver's words."""

    def __init__(self, http: aiohttp.ClientSession, access: KubeAccess) -> None:
        self._http, self._url = http, access.url
        self._ssl: ssl.SSLContext | bool = access.ssl_context() or True
        self._token = ("Authorization", f"Bearer {access.token}")

    async def text(self, path: str) -> str:
        """GET a path."""
        async with self._http.get(self._url + path, ssl=self._ssl, headers=[self._token]) as answer:
            return await answer.text()

    async def call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, as_kubelet: bool = False
    ) -> Json:
        """Send one request."""
        media = "application/apply-patch+yaml" if method == "PATCH" else "application/json"
        headers = [self._token, ("Content-Type", media), *(_AS_KUBELET if as_kubelet else ())]
        data = None if body is None else json.dumps(body).encode()
        async with self._http.request(method, self._url + path, data=data, ssl=self._ssl, headers=headers) as answer:
            text = await answer.text()
            if answer.status >= 400:
                raise RuntimeError(f"{method} {path}: {answer.status} {text[:400]}")
            found: Json = json.loads(text)
            return found

    async def pod_token(self, namespace: str, account: str, name: str, uid: str) -> str:
        """Ask for a Pod's token of the server's audience, as its kubelet does."""
        bound = {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid}
        spec = {"audiences": [SERVER_AUDIENCE], "expirationSeconds": 3600, "boundObjectRef": bound}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        answer = await self.call("POST", path, body, as_kubelet=True)
        return str(answer["status"]["token"])

    async def watch(self, path: str, query: str) -> AsyncIterator[Json]:
        """Yield what is there and every change, until the kube-apiserver ends it."""
        url = f"{self._url}{path}?watch=true&{query}"
        timeout = aiohttp.ClientTimeout(total=None)
        async with self._http.get(
            url, ssl=self._ssl, headers=[self._token], timeout=timeout, read_bufsize=LINE_BYTES_MAX
        ) as answer:
            async for line in answer.content:
                yield json.loads(line)
