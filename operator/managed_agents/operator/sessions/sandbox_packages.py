"""What a sandbox Pod has beside for its Environment's packages: a volume, who may write it, and the hash. Pure."""

from typing import Any

from managed_agents.contracts.packages import PREFIX

VOLUME = "packages"
DISK = "8Gi"


def with_packages(spec: dict[str, Any], digest: str | None) -> dict[str, Any]:
    """Return a sandbox Pod's spec whose supervisor unpacks these packages and whose tools read them; None: as it is."""
    if digest is None:
        return spec
    supervisors = [
        {**_mounting(container, read_only=False), "args": [*container["args"], "--packages-digest", digest]}
        for container in spec["initContainers"]
    ]
    tools = [_mounting(container, read_only=True) for container in spec["containers"]]
    volume = {"name": VOLUME, "emptyDir": {"sizeLimit": DISK}}
    return {**spec, "initContainers": supervisors, "containers": tools, "volumes": [*spec["volumes"], volume]}


def _mounting(container: dict[str, Any], *, read_only: bool) -> dict[str, Any]:
    mount: dict[str, Any] = {"name": VOLUME, "mountPath": PREFIX} | ({"readOnly": True} if read_only else {})
    return {**container, "volumeMounts": [*container["volumeMounts"], mount]}
