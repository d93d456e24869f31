"""The two questions that the server asks the kube-apiserver, spoken in plain HTTP."""

import ssl
from pathlib import Path
from typing import Any

import aiohttp

from managed_agents.contracts.errors import RetryableError
from managed_agents.contracts.names import GROUP
from managed_agents.kube.access import KEEPALIVE_SECONDS
from managed_agents.server.services.authenticator import Access, Identity, token_expiry

REQUEST_SECONDS = 5.0
"""A review takes 2 ms; one that takes this long is not answered."""


class KubernetesReviewer:
    """`Reviewer` on a real kube-apiserver. The token file is read at each call: the kubelet renews it."""

    def __init__(self, session: aiohttp.ClientSession, url: str, token_path: Path | None) -> None:
        self._session = session
        self._url = url.rstrip("/")
        self._token_path = token_path

    async def review_token(self, token: str, audience: str | None) -> Identity | None:
        """Ask whose token this is."""
        spec: dict[str, Any] = {"token": token}
        if audience is not None:
            spec["audiences"] = [audience]
        status = await self._create("authentication.k8s.io", "tokenreviews", "TokenReview", spec)
        if not status.get("authenticated") or (audience is not None and audience not in status.get("audiences", ())):
            return None
        user = status.get("user") or {}
        return Identity(
            username=user.get("username", ""),
            uid=user.get("uid", ""),
            groups=tuple(user.get("groups") or ()),
            extra=user.get("extra") or {},
            expires=token_expiry(token),
        )

    async def review_access(self, identity: Identity, access: Access) -> bool:
        """Ask whether an identity may do this to that resource."""
        attributes = {
            "group": GROUP,
            "resource": access.resource,
            "verb": access.verb,
            "namespace": access.namespace,
            "name": access.name or "",
        }
        if access.subresource is not None:
            attributes["subresource"] = access.subresource
        spec = {
            "user": identity.username,
            "uid": identity.uid,
            "groups": list(identity.groups),
            "extra": {key: list(values) for key, values in identity.extra.items()},
            "resourceAttributes": attributes,
        }
        status = await self._create("authorization.k8s.io", "subjectaccessreviews", "SubjectAccessReview", spec)
        return bool(status.get("allowed"))

    async def _create(self, group: str, resource: str, kind: str, spec: dict[str, Any]) -> dict[str, Any]:
        body = {"apiVersion": f"{group}/v1", "kind": kind, "spec": spec}
        url = f"{self._url}/apis/{group}/v1/{resource}"
        try:
            async with self._session.post(url, json=body, headers=self._headers()) as response:
                if response.status >= 300:
                    raise RetryableError(f"the kube-apiserver answered {response.status} to a {kind}")
                answer = await response.json()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise RetryableError(f"the kube-apiserver does not answer a {kind}: {type(error).__name__}") from error
        status: dict[str, Any] = answer.get("status") or {}
        return status

    def _headers(self) -> dict[str, str]:
        if self._token_path is None:
            return {}
        return {"Authorization": f"Bearer {self._token_path.read_text().strip()}"}


def open_client(ca_path: Path | None) -> aiohttp.ClientSession:
    """Return a client that trusts the cluster's CA. Call it on the event loop; close it at the end."""
    context: ssl.SSLContext | bool = True
    if ca_path is not None:
        context = ssl.create_default_context(cafile=str(ca_path))
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=context, limit=32, keepalive_timeout=KEEPALIVE_SECONDS),
        timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS),
    )
