"""An Environment's configuration as the API shows it: every default said (API reference §4.4). Pure."""

from collections.abc import Mapping
from typing import Any

from managed_agents.contracts import ids, names
from managed_agents.contracts.api.casing import to_snake

CLOUD = "cloud"
SELF_HOSTED = "self_hosted"
MANAGERS = ("apt", "cargo", "gem", "go", "npm", "pip")
"""Package managers, in the order in which they install."""


def environment_id_of(environment: Mapping[str, Any]) -> str:
    """Return the API's id of an Environment."""
    annotations = environment["metadata"].get("annotations") or {}
    return str(annotations.get(names.ANNOTATION_ID) or ids.id_for(ids.ENVIRONMENT, environment["metadata"]["uid"]))


def environment_name_of(environment: Mapping[str, Any]) -> str:
    """Return the API's name of an Environment."""
    return str(environment["spec"].get("name") or environment["metadata"]["name"])


def environment_config(environment: Mapping[str, Any]) -> dict[str, Any]:
    """Render the `environment` of a session config (docs/internal-api.md)."""
    return {
        "id": environment_id_of(environment),
        "name": environment_name_of(environment),
        "config": resolved_config(to_snake(environment["spec"].get("config") or {"type": CLOUD})),
        "harness_image": harness_image_of(environment),
    }


def harness_image_of(environment: Mapping[str, Any] | None) -> str:
    """Return the harness image that an Environment names; empty for the operator's own. It names the harness pool."""
    return str((((environment or {}).get("spec") or {}).get("harness") or {}).get("image") or "")


def resolved_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Say every default of a `config`: unrestricted networking, no packages. Idempotent."""
    if config["type"] == SELF_HOSTED:
        return {"type": SELF_HOSTED}
    packages = config.get("packages") or {}
    return {
        "type": CLOUD,
        "networking": resolved_networking(config.get("networking") or {"type": "unrestricted"}),
        "packages": {"type": "packages"} | {manager: list(packages.get(manager) or ()) for manager in MANAGERS},
    }


def resolved_networking(networking: Mapping[str, Any]) -> dict[str, Any]:
    """Say every default of `networking`. Idempotent."""
    if networking["type"] == "unrestricted":
        return {"type": "unrestricted"}
    return {
        "type": "limited",
        "allowed_hosts": list(networking.get("allowed_hosts") or ()),
        "allow_mcp_servers": bool(networking.get("allow_mcp_servers")),
        "allow_package_managers": bool(networking.get("allow_package_managers")),
    }
