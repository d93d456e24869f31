"""The environment variables of a sandbox's tools: where home is, and the one way out (docs/egress.md). Pure."""

from collections.abc import Mapping
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


def tools_environment(home: str, packages: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the `env` of a container that runs tools; `packages` are the variables of what is installed."""
    return [{"name": name, "value": value} for name, value in {"HOME": home, **NETWORK, **packages}.items()]
