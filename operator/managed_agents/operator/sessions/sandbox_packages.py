"""What a sandbox Pod has beside for its Environment's packages: a volume, who may write it, and the hash. Pure."""

from typing import Any

from managed_agents.contracts.packages import PREFIX

VOLUME = "packages"
DISK = "8Gi"


def with_packages(spec: dict[str, Any], digest: str | None) -> dict[str, Any]:
    """Return a sandbox Pod's spec whose supervisor unpacks these packages and whose tools read them; None: as it is."""
    if digest is None:
        return spec
    supervisor, tools = spec["containers"]
    supervisor = _mounting(supervisor, read_only=False)
    supervisor["args"] = [*supervisor["args"], "--packages-digest", digest]
    containers = [supervisor, _mounting(tools, read_only=True)]
    volume = {"name": VOLUME, "emptyDir": {"sizeLimit": DISK}}
    return {**spec, "containers": containers, "volumes": [*spec["volumes"], volume]}


def _mounting(container: dict[str, Any], *, read_only: bool) -> dict[str, Any]:
    mount: dict[str, Any] = {"name": VOLUME, "mountPath": PREFIX} | ({"readOnly": True} if read_only else {})
    return {**container, "volumeMounts": [*container["volumeMounts"], mount]}
