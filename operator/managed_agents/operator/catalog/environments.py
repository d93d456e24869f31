"""What of an Environment this version does not build, and what its sandboxes mount. Pure."""

from typing import Any

from managed_agents.kube.resources import Manifest

_DEFAULT_CONFIG: dict[str, Any] = {"type": "cloud"}


def unsupported_fields(environment: Manifest) -> tuple[str, ...]:
    """Return the fields of an Environment that this version does not build, as paths of the manifest."""
    config: dict[str, Any] = environment["spec"].get("config") or _DEFAULT_CONFIG
    found = []
    if config["type"] != "cloud":
        found.append(f"spec.config.type ({config['type']})")
    return tuple(found)


def not_supported_message(fields: tuple[str, ...]) -> str:
    """Say which fields stand in the way."""
    return f"this version does not support {', '.join(fields)}; remove them"


def config_map_names(environment: Manifest) -> tuple[str, ...]:
    """Return the names of the ConfigMaps that its sandboxes mount."""
    mounts = (environment["spec"].get("sandbox") or {}).get("mounts") or []
    return tuple(mount["configMapRef"]["name"] for mount in mounts)
