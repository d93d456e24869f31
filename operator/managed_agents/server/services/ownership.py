"""Who else answers for a field: a write by the API to what GitOps manages is refused, not fought over. Pure.

Kubernetes records owners in `metadata.managedFields`. A field applied by server-side apply, or written by a known
GitOps controller, would come back at the next synchronisation, so the API says where to change it. What a user wrote
by `kubectl create`, `edit`, `patch` or client-side `apply` may be overwritten by whoever writes last.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from managed_agents.contracts.api.casing import OPAQUE, snake
from managed_agents.contracts.errors import RejectedError

GITOPS_MANAGERS = (
    "argocd-controller",
    "argocd-application-controller",
    "kustomize-controller",
    "helm-controller",
    "helm",
)
"""Managers that write without server-side apply in some of their modes, and yet restore what they manage."""

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """A field's manager that would undo our write. `path` is the manifest's, from `spec` on."""

    path: Path
    manager: str


def require_unowned(manifest: Mapping[str, Any], patch: Mapping[str, Any], *, manager: str) -> None:
    """Refuse a merge patch that touches a field of the spec which another manager keeps. Raises: RejectedError."""
    owner = owner_of(manifest["metadata"].get("managedFields") or (), changed_paths(patch), manager=manager)
    if owner is None:
        return
    field = api_path(owner.path)
    raise RejectedError(
        f'{field}: this field is managed by "{owner.manager}", which would undo the change; change it in Git or '
        "wherever that manager takes the object from",
        reason="FieldManaged",
        field=field,
    )


def owner_of(managed_fields: Sequence[Mapping[str, Any]], paths: Iterable[Path], *, manager: str) -> Owner | None:
    """Return who keeps the first of these fields that somebody else keeps."""
    keepers = [entry for entry in managed_fields if _keeps(entry, manager)]
    for path in paths:
        for entry in keepers:
            if _holds(entry.get("fieldsV1") or {}, path):
                return Owner(path=path, manager=str(entry["manager"]))
    return None


def changed_paths(patch: Mapping[str, Any]) -> Iterator[Path]:
    """Yield the path of each value below `spec` that a merge patch sets or removes; lists are whole values."""
    yield from _leaves(patch.get("spec") or {}, ("spec",))


def _leaves(value: Mapping[str, Any], path: Path) -> Iterator[Path]:
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            yield from _leaves(item, (*path, key))
        else:
            yield (*path, key)


def api_path(path: Path) -> str:
    """Write a manifest's path as the API spells it: `spec.mcpServers` is `mcp_servers`, keys of users stay."""
    shown: list[str] = []
    for key in path[1:]:
        shown.append(key if OPAQUE.intersection(shown) else snake(key))
    return ".".join(shown)


def _keeps(entry: Mapping[str, Any], manager: str) -> bool:
    if entry.get("subresource") or entry.get("manager") == manager:
        return False
    return entry.get("operation") == "Apply" or entry.get("manager") in GITOPS_MANAGERS


def _holds(fields: Mapping[str, Any], path: Path) -> bool:
    """Tell whether a set of fields has a path, something below it, or a whole value around it."""
    node: Mapping[str, Any] = fields
    for key in path:
        if f"f:{key}" not in node:
            return False
        node = node[f"f:{key}"]
        if not node:
            return True
    return True
