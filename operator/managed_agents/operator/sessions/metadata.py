"""What all objects made for a Session have in common: labels, owner, security contexts."""

from typing import Any

from managed_agents.contracts import names
from managed_agents.kube.resources import ENVIRONMENTS, SESSIONS, Manifest

HARNESS_UID = 1001
TOOLS_UID = 1000
SHARED_GID = 1000
"""Supervisor and tools share files through this group only (design §7)."""


def labels_for(session: Manifest, component: str) -> dict[str, str]:
    """Return the labels of an object made for a Session (manifests reference)."""
    spec = session["spec"]
    return {
        names.LABEL_SESSION: session["metadata"]["name"],
        names.LABEL_SESSION_UID: session["metadata"]["uid"],
        names.LABEL_AGENT: spec["agentRef"]["name"],
        names.LABEL_ENVIRONMENT: spec["environmentRef"]["name"],
        names.LABEL_NAME: names.NAME_OF_SESSIONS,
        names.LABEL_COMPONENT: component,
        names.LABEL_MANAGED_BY: names.MANAGER,
        names.LABEL_PART_OF: names.PART_OF,
    }


def warm_labels_for(pool: str, component: str) -> dict[str, str]:
    """Return the labels of an object that no session owns yet."""
    return {
        names.LABEL_POOL: pool,
        names.LABEL_NAME: names.NAME_OF_SESSIONS,
        names.LABEL_COMPONENT: component,
        names.LABEL_MANAGED_BY: names.MANAGER,
        names.LABEL_PART_OF: names.PART_OF,
    }


def session_selector(session_uid: str) -> str:
    """Return the label selector of everything made for one Session."""
    return f"{names.LABEL_SESSION_UID}={session_uid}"


def environment_owner_for(environment: Manifest) -> dict[str, Any]:
    """Return a reference by which garbage collection removes a pool's object after the last of its Environments."""
    return {
        "apiVersion": ENVIRONMENTS.api_version,
        "kind": ENVIRONMENTS.kind,
        "name": environment["metadata"]["name"],
        "uid": environment["metadata"]["uid"],
    }


def owner_for(session: Manifest) -> dict[str, Any]:
    """Return the controlling owner reference, so that garbage collection removes what a lost finalizer would leak."""
    return {
        "apiVersion": SESSIONS.api_version,
        "kind": SESSIONS.kind,
        "name": session["metadata"]["name"],
        "uid": session["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": False,
    }


def is_owned_by(manifest: Manifest, uid: str) -> bool:
    """Tell whether an object's controller is the one of that UID."""
    owners = manifest["metadata"].get("ownerReferences") or []
    return any(owner.get("controller") and owner.get("uid") == uid for owner in owners)


def metadata_for(session: Manifest, name: str, component: str) -> dict[str, Any]:
    """Return the metadata of an object made for a Session."""
    return {
        "name": name,
        "namespace": session["metadata"]["namespace"],
        "labels": labels_for(session, component),
        "ownerReferences": [owner_for(session)],
    }


def default_container(name: str) -> dict[str, str]:
    """Return the annotation by which `kubectl exec` and `kubectl logs` mean this container where none is named."""
    return {"kubectl.kubernetes.io/default-container": name}


def pod_security(uid: int) -> dict[str, Any]:
    """Return a Pod's security context that passes Pod Security `restricted`."""
    return {
        "runAsNonRoot": True,
        "runAsUser": uid,
        "runAsGroup": SHARED_GID,
        "fsGroup": SHARED_GID,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security(uid: int, *, read_only: bool = True) -> dict[str, Any]:
    """Return a container's security context that passes Pod Security `restricted`."""
    return {
        "runAsUser": uid,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": read_only,
        "capabilities": {"drop": ["ALL"]},
    }
