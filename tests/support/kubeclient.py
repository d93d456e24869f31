"""A thin client of the kube-apiserver for tests: raw JSON, impersonation, and the server's own words on refusal."""

import base64
import http.client
import json
import os
import ssl
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlsplit

import yaml

REQUEST_SECONDS = 15.0
POLL_SECONDS = 0.05
WAIT_SECONDS = 5.0
FIELD_MANAGER = "tests"

_CLUSTER_KINDS = frozenset(
    {
        "ClusterRole",
        "ClusterRoleBinding",
        "CustomResourceDefinition",
        "Namespace",
        "RuntimeClass",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    }
)

Json = dict[str, Any]


class KubeError(Exception):
    """The kube-apiserver refused; `status` is the HTTP status, `causes` the refused fields as (path, message)."""

    def __init__(self, status: int, body: Json) -> None:
        self.status = status
        self.message = str(body.get("message", body))
        details = body.get("details") or {}
        self.causes = [
            (str(cause.get("field", "")), str(cause.get("message", ""))) for cause in details.get("causes", [])
        ]
        super().__init__(f"{status}: {self.message}")


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeClient:
    """Requests to one kube-apiserver, as one user."""

    host: str
    port: int
    context: ssl.SSLContext
    token: str | None = None
    impersonate: tuple[tuple[str, str], ...] = ()
    timeout_seconds: float = REQUEST_SECONDS

    def acting_as(self, user: str, *groups: str) -> Self:
        """Return a client that acts as another user; `system:authenticated` is always one of the groups."""
        headers = [("Impersonate-User", user)]
        headers += [("Impersonate-Group", group) for group in ("system:authenticated", *groups)]
        return replace(self, impersonate=tuple(headers))

    def request(self, method: str, path: str, body: Json | None = None, *, media: str = "application/json") -> Json:
        """Send one request. Raises: `KubeError` for every status from 400 on."""
        connection = http.client.HTTPSConnection(
            self.host, self.port, timeout=self.timeout_seconds, context=self.context
        )
        try:
            connection.putrequest(method, path)
            payload = b"" if body is None else json.dumps(body).encode()
            headers = [("Content-Type", media), ("Content-Length", str(len(payload))), *self.impersonate]
            if self.token is not None:
                headers.append(("Authorization", f"Bearer {self.token}"))
            for name, value in headers:
                connection.putheader(name, value)
            connection.endheaders(payload)
            response = connection.getresponse()
            answer = _decode(response.read())
        finally:
            connection.close()
        if response.status >= 400:
            raise KubeError(response.status, answer)
        return answer

    def create(self, manifest: Mapping[str, Any], *, dry_run: bool = False) -> Json:
        """POST an object with strict field validation."""
        query = "?fieldValidation=Strict" + ("&dryRun=All" if dry_run else "")
        return self.request("POST", collection_path(manifest) + query, dict(manifest))

    def apply(self, manifest: Mapping[str, Any], *, subresource: str = "", dry_run: bool = False) -> Json:
        """Server-side apply with force and strict field validation."""
        query = f"?fieldManager={FIELD_MANAGER}&force=true&fieldValidation=Strict" + ("&dryRun=All" if dry_run else "")
        path = object_path(manifest) + (f"/{subresource}" if subresource else "") + query
        return self.request("PATCH", path, dict(manifest), media="application/apply-patch+yaml")

    def replace(self, manifest: Mapping[str, Any], *, subresource: str = "") -> Json:
        """PUT an object whatever its resourceVersion."""
        path = object_path(manifest) + (f"/{subresource}" if subresource else "") + "?fieldValidation=Strict"
        body = {**manifest, "metadata": {k: v for k, v in manifest["metadata"].items() if k != "managedFields"}}
        return self.request("PUT", path, body)

    def delete(self, manifest: Mapping[str, Any]) -> None:
        """DELETE an object."""
        self.request("DELETE", object_path(manifest))


def eventually(is_so: Callable[[], bool], *, seconds: float = WAIT_SECONDS) -> None:
    """Wait until a probe is true. Raises: `TimeoutError` when it is not within the bound."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not so within {seconds} s")
        time.sleep(POLL_SECONDS)


def plural_of(kind: str) -> str:
    """Name the resource of a kind, by the rule that all kinds used here follow."""
    lower = kind.lower()
    if lower.endswith("s"):
        return f"{lower}es"
    return f"{lower[:-1]}ies" if lower.endswith("y") and lower[-2] not in "aeiou" else f"{lower}s"


def collection_path(manifest: Mapping[str, Any]) -> str:
    """Return the URL path of the collection an object belongs to."""
    api_version, kind = manifest["apiVersion"], manifest["kind"]
    root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
    if kind in _CLUSTER_KINDS:
        return f"{root}/{plural_of(kind)}"
    return f"{root}/namespaces/{manifest['metadata'].get('namespace', 'default')}/{plural_of(kind)}"


def object_path(manifest: Mapping[str, Any]) -> str:
    """Return the URL path of an object."""
    return f"{collection_path(manifest)}/{quote(manifest['metadata']['name'], safe='')}"


def client_from_kubeconfig(path: Path | None = None) -> KubeClient:
    """Make a client from the current context of a kubeconfig (client certificate or token)."""
    config = yaml.safe_load((path or Path(os.environ["KUBECONFIG"])).read_text())
    context = _named(config["contexts"], config["current-context"])["context"]
    cluster = _named(config["clusters"], context["cluster"])["cluster"]
    user = _named(config["users"], context["user"])["user"]
    address = urlsplit(cluster["server"])
    tls = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    if "client-certificate-data" in user:
        with tempfile.NamedTemporaryFile(suffix=".pem") as bundle:
            bundle.write(base64.b64decode(user["client-certificate-data"]))
            bundle.write(base64.b64decode(user["client-key-data"]))
            bundle.flush()
            tls.load_cert_chain(bundle.name)
    return KubeClient(
        host=address.hostname or "127.0.0.1", port=address.port or 443, context=tls, token=user.get("token")
    )


def _named(entries: Sequence[Json], name: str) -> Json:
    return next(entry for entry in entries if entry["name"] == name)


def _decode(payload: bytes) -> Json:
    try:
        value = json.loads(payload or b"{}")
    except ValueError:
        return {"message": payload.decode(errors="replace")}
    return value if isinstance(value, dict) else {"message": str(value)}
