"""The environment variables of a sandbox's tools: where home is, the one way out and whom to trust (docs/egress.md)."""

from collections.abc import Mapping, Sequence
from typing import Any

from managed_agents.contracts.egress import RELAY_PORT

_RELAY = f"http://127.0.0.1:{RELAY_PORT}"
_DIRECT = "localhost,127.0.0.1,::1"

NETWORK = {
    # both spellings: curl reads http_proxy in lower case only, others the upper one only
    "HTTP_PROXY": _RELAY,
    "HTTPS_PROXY": _RELAY,
    "http_proxy": _RELAY,
    "https_proxy": _RELAY,
    "NO_PROXY": _DIRECT,
    "no_proxy": _DIRECT,
    # Node.js looks at the variables above only when it is told to
    "NODE_USE_ENV_PROXY": "1",
}

CERTIFICATES = "/certificates"
"""An Environment that mounts a ConfigMap here says whom its tools trust: `ca-bundle.crt` holds all of them."""

_BUNDLE = f"{CERTIFICATES}/ca-bundle.crt"
_TRUST = {
    "SSL_CERT_FILE": _BUNDLE,  # OpenSSL, Python's ssl, Go
    "CURL_CA_BUNDLE": _BUNDLE,
    "GIT_SSL_CAINFO": _BUNDLE,
    "NODE_EXTRA_CA_CERTS": _BUNDLE,
    "REQUESTS_CA_BUNDLE": _BUNDLE,  # and pip
}


def tools_environment(
    home: str, packages: Mapping[str, str], mounts: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return the `env` of a container that runs tools.

    `packages` are the variables of what is installed, `mounts` those of the Environment.
    """
    trust = _TRUST if any(mount["mountPath"] == CERTIFICATES for mount in mounts) else {}
    return [{"name": name, "value": value} for name, value in {"HOME": home, **NETWORK, **trust, **packages}.items()]
