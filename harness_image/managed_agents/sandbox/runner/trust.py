"""Whom the tools trust where the session has an authority of its own: the image's authorities, and that one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

TRUST_VARIABLES = (
    "SSL_CERT_FILE",  # OpenSSL, Python's ssl and httpx, Go, Ruby, uv, Rust by rustls-native-certs
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
    "NPM_CONFIG_CAFILE",
    "CARGO_HTTP_CAINFO",
    "AWS_CA_BUNDLE",
    "DENO_CERT",
)
"""Each replaces what a program trusts else, all but Node.js's and Deno's: so the file holds everything."""

STORES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",  # Alpine without the package
)
STORE_BYTES_MAX = 4 * 1024 * 1024


def trust_bundle(authority: str, environment: Mapping[str, str]) -> str:
    """Return the certificates in PEM: what the container trusts as it is, and the session's authority."""
    named = environment.get("SSL_CERT_FILE")  # the Environment's own, where it mounts /certificates
    for store in (named, *STORES) if named else STORES:
        try:
            with Path(store).open("rb") as file:
                found = file.read(STORE_BYTES_MAX).decode("utf-8", "replace")
        except OSError:
            continue
        return f"{found.rstrip()}\n{authority}"
    return authority


def write_bundle(file: Path, bundle: str) -> bool:
    """Write the file, whole or not at all; false where it cannot be."""
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(bundle, "utf-8")
        fresh.chmod(0o444)
        fresh.replace(file)
    except OSError:
        return False
    return True
