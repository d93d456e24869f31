"""Keys, certificates, tokens and kubeconfigs of a control plane that lives as long as a bench."""

import secrets
import subprocess
from collections.abc import Mapping
from pathlib import Path

import yaml

USERS: Mapping[str, str] = {
    "admin": "system:masters",
    "system:kube-controller-manager": "",
    "system:kube-scheduler": "",
}
"""Those who come with a fixed token, and their group. The others are ServiceAccounts."""

OPENSSL_SECONDS = 30


def make_keys(folder: Path) -> None:
    """Make the kube-apiserver's certificate for loopback, and the key that signs ServiceAccounts' tokens."""
    names = "subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:kubernetes.default.svc"
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    subject = ["-subj", "/CN=kube-apiserver", "-addext", names]
    files = ["-keyout", str(folder / "tls.key"), "-out", str(folder / "tls.crt")]
    _openssl("req", "-x509", *curve, *subject, *files)
    _openssl("genrsa", "-out", str(folder / "service-account.key"), "2048")


def make_tokens(folder: Path) -> dict[str, str]:
    """Write the file of fixed tokens; return them by user."""
    tokens = {user: secrets.token_hex(16) for user in USERS}
    lines = [f'{tokens[user]},{user},{user},"{group}"\n' for user, group in USERS.items()]
    (folder / "tokens.csv").write_text("".join(lines))
    return tokens


def kubeconfig(folder: Path, name: str, url: str, token: str) -> Path:
    """Write a kubeconfig with a token."""
    path = folder / f"{name}.kubeconfig"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "scale", "cluster": {"server": url, "certificate-authority": str(folder / "tls.crt")}}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": "scale", "context": {"cluster": "scale", "user": name}}],
        "current-context": "scale",
    }
    path.write_text(yaml.safe_dump(document))
    return path


def _openssl(*words: str) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True, timeout=OPENSSL_SECONDS)
