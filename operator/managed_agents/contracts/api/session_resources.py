"""The resources of a Session in the form of its config: files and repositories, with ids that follow from them. Pure.

Nothing needs to be stored beside `Session.spec.resources`: both doors see one list, and an entry keeps its id for as
long as it says the same.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from managed_agents.contracts.api.casing import to_snake

UPLOADS = "/mnt/session/uploads/"
WORKSPACE = "/workspace/"

SUPPORTED = ("file", "github_repository")


def resource_configs(uid: str, resources: Iterable[Mapping[str, Any]], created_at: str) -> list[dict[str, Any]]:
    """Render `spec.resources` for a session config; of entries that say the same, the first counts.

    A file's `file_id` is still the one that was named: the server replaces it by the session's own copy.
    """
    found: dict[str, dict[str, Any]] = {}
    for resource in resources:
        entry = _file(resource) if resource["type"] == "file" else _repository(resource)
        entry_id = resource_id_for(uid, entry)
        times = {"created_at": created_at, "updated_at": created_at}
        found.setdefault(entry_id, {"id": entry_id, **entry, **times})
    return list(found.values())


def resource_id_for(uid: str, entry: Mapping[str, Any]) -> str:
    """Derive an entry's id from its Session's UID and from what it says."""
    said = {key: entry.get(key) for key in ("type", "source_file_id", "url", "mount_path", "checkout")}
    digest = hashlib.sha256(json.dumps([uid, said], sort_keys=True).encode()).hexdigest()
    return f"sesrsc_{digest[:24]}"


def upload_path_of(mount_path: str | None) -> str | None:
    """Return a file's path below the uploads folder, without a leading slash; null for its id's."""
    if not mount_path:
        return None
    return mount_path.removeprefix(UPLOADS.rstrip("/")).strip("/") or None


def mount_path_of(entry: Mapping[str, Any]) -> str:
    """Return where a resource is seen in the sandbox."""
    if entry["type"] == "file":
        return UPLOADS + str(entry.get("mount_path") or entry["file_id"])
    return str(entry["mount_path"])


def unsupported_resources(resources: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the entries that this version does not build, as paths of the manifest."""
    return tuple(
        f"spec.resources[{index}] ({resource['type']})"
        for index, resource in enumerate(resources)
        if resource["type"] not in SUPPORTED
    )


def _file(resource: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "file",
        "file_id": resource["fileId"],
        "source_file_id": resource["fileId"],
        "mount_path": upload_path_of(resource.get("mountPath")),
    }


def _repository(resource: Mapping[str, Any]) -> dict[str, Any]:
    url = str(resource["url"])
    name = url.rstrip("/").rsplit("/", 1)[-1].removesuffix(".git")
    return {
        "type": "github_repository",
        "url": url,
        "mount_path": resource.get("mountPath") or WORKSPACE + name,
        "checkout": to_snake(resource.get("checkout")),
        **({"has_token": True} if resource.get("authorizationToken") else {}),
        **({"push_refs": list(resource["pushRefs"])} if "pushRefs" in resource else {}),
    }
