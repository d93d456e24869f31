"""How to reach the kube-apiserver: the Pod's ServiceAccount, else a kubeconfig.

Read by hand, for importing a Kubernetes client library costs 3 to 4 CPU-seconds and 75 MB (measured on 2 cores), which
every restart of the operator would pay before it does anything.
"""

import base64
import os
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")

KEEPALIVE_SECONDS = 60.0
"""How long an unused connection is kept: the kube-apiserver ends it after 90 s, and a handshake costs milliseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeAccess:
    """Address and credentials; certificates are PEM texts. A token's file is read anew for each use."""

    url: str
    ca: str | None = None
    certificate: str | None = None
    private_key: str | None = None
    token_path: Path | None = None
    fixed_token: str | None = None

    def __repr__(self) -> str:
        """Show no credential."""
        return f"KubeAccess(url={self.url!r})"

    @property
    def token(self) -> str | None:
        """Return the bearer token of now; the kubelet renews its file."""
        return self.token_path.read_text().strip() if self.token_path is not None else self.fixed_token

    def ssl_context(self) -> ssl.SSLContext | None:
        """Return what TLS needs; None for plain HTTP. Raises: ssl.SSLError on a bad certificate."""
        if not self.url.startswith("https:"):
            return None
        context = ssl.create_default_context(cadata=self.ca)
        if self.certificate is not None and self.private_key is not None:
            with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:  # the ssl module reads files only
                file.write(f"{self.certificate}\n{self.private_key}\n")
                file.flush()
                context.load_cert_chain(file.name)
        return context

    @classmethod
    def find(cls, environment: Mapping[str, str] = os.environ, account: Path = _ACCOUNT) -> Self:
        """Find the access in the cluster, else by `KUBECONFIG` or `~/.kube/config`. Raises: KeyError, OSError."""
        host = environment.get("KUBERNETES_SERVICE_HOST")
        if host and (account / "token").exists():
            shown = f"[{host}]" if ":" in host else host
            port = environment.get("KUBERNETES_SERVICE_PORT", "443")
            ca = (account / "ca.crt").read_text()
            return cls(url=f"https://{shown}:{port}", ca=ca, token_path=account / "token")
        return cls.from_kubeconfig(Path(environment.get("KUBECONFIG") or Path.home() / ".kube" / "config"))

    @classmethod
    def from_kubeconfig(cls, path: Path) -> Self:
        """Read the current context of a kubeconfig: certificates and tokens, no plugins. Raises: KeyError, OSError."""
        document = yaml.safe_load(path.read_text())
        context = _named(document["contexts"], document["current-context"])["context"]
        cluster = _named(document["clusters"], context["cluster"])["cluster"]
        user = _named(document["users"], context["user"])["user"]
        return cls(
            url=cluster["server"].rstrip("/"),
            ca=_text(cluster, "certificate-authority"),
            certificate=_text(user, "client-certificate"),
            private_key=_text(user, "client-key"),
            token_path=Path(user["tokenFile"]) if user.get("tokenFile") else None,
            fixed_token=user.get("token"),
        )


def _named(entries: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return {entry["name"]: entry for entry in entries}[name]


def _text(entry: Mapping[str, Any], key: str) -> str | None:
    """Return a credential given inline (`KEY-data`, base64) or by file."""
    if entry.get(f"{key}-data"):
        return base64.b64decode(entry[f"{key}-data"]).decode()
    return Path(entry[key]).read_text() if entry.get(key) else None
