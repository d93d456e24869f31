"""The sandbox of a Session: a Pod of two containers without any identity, and the claim of its workspace.

Pure. The supervisor owns port and journal; the tools container runs the user's image (design §7, docs/sandbox.md).
"""

from typing import Any

from managed_agents.contracts import names, ports
from managed_agents.kube.resources import Manifest
from managed_agents.operator.packages.spec import tools_variables, wanted_digest
from managed_agents.operator.sessions.harness_pods import node_tolerations
from managed_agents.operator.sessions.metadata import (
    HARNESS_UID,
    TOOLS_UID,
    container_security,
    default_container,
    metadata_for,
    pod_security,
)
from managed_agents.operator.sessions.sandbox_environment import tools_environment
from managed_agents.operator.sessions.sandbox_packages import with_packages
from managed_agents.operator.settings import SessionSettings

GRACE_SECONDS = 2
"""Short: a sandbox is retired when nothing runs in it, or lost anyway."""

UNREACHABLE_SECONDS = 3600
"""A node that the control plane cannot see may be healthy: its sandboxes are not evicted (guarantee F22)."""

RUNNER_DIRECTORY = "/managed-agents"
START_RUNNER = """\
import os, sys, time
while not os.path.exists(sys.argv[1]): time.sleep(0.01)
os.execvp("python3", ["python3", "-IS", sys.argv[1]])
"""
"""Waits for the supervisor, which puts the runner there: both containers start at once. It must parse on any Python."""

SOCKET_DIRECTORY = "/managed-agents-socket"
JOURNAL_DIRECTORY = "/journal"
WORKSPACE = "/workspace"
OUTPUTS = "/mnt/session/outputs"
UPLOADS = "/mnt/session/uploads"


def workspace_claim_for(session: Manifest, workspace: dict[str, Any], name: str) -> Manifest:
    """Build the claim that holds `/workspace` as long as the Session lives, over all its sandbox Pods."""
    return claim_of(metadata_for(session, name, names.COMPONENT_SANDBOX), workspace)


def claim_of(metadata: dict[str, Any], workspace: dict[str, Any]) -> Manifest:
    """Build a claim of an Environment's `workspace`."""
    spec: dict[str, Any] = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": workspace["size"]}},
    }
    if workspace.get("storageClassName"):
        spec["storageClassName"] = workspace["storageClassName"]
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}


def sandbox_pod_for(
    session: Manifest, environment: Manifest, *, pod_name: str, token_sha256: str, settings: SessionSettings, claim: str
) -> Manifest:
    """Build the Pod that the server asked for by name. `claim` holds its workspace, if the Environment wants one."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata_for(session, pod_name, names.COMPONENT_SANDBOX)
        | {"annotations": default_container("tools")},
        "spec": sandbox_pod_spec(environment, token_sha256=token_sha256, claim=claim, settings=settings),
    }


def sandbox_pod_spec(
    environment: Manifest, *, token_sha256: str, claim: str, settings: SessionSettings
) -> dict[str, Any]:
    """Build what runs in a sandbox Pod: it names no session, and accepts one bind, with the token of that hash."""
    sandbox: dict[str, Any] = environment["spec"].get("sandbox") or {}
    mounts: list[dict[str, Any]] = sandbox.get("mounts") or []
    spec: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "shareProcessNamespace": False,
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": pod_security(TOOLS_UID),
        # Both start at once: the kubelet looks after a native sidecar only with its next look at all containers.
        "containers": [
            _supervisor(sandbox, token_sha256, settings),
            _tools(sandbox, mounts, tools_variables(environment), settings),
        ],
        "volumes": _volumes(claim, sandbox, mounts),
        "tolerations": node_tolerations(UNREACHABLE_SECONDS),
        "dnsPolicy": "None",
        "dnsConfig": {"nameservers": ["127.0.0.1"]},
    }
    if sandbox.get("runtimeClassName"):
        spec["runtimeClassName"] = sandbox["runtimeClassName"]
    return with_packages(spec, wanted_digest(environment, settings))


def _supervisor(sandbox: dict[str, Any], token_sha256: str, settings: SessionSettings) -> dict[str, Any]:
    return {
        "name": "supervisor",
        "image": settings.harness_image,
        "imagePullPolicy": settings.image_pull_policy,
        "command": ["python", "-m", "managed_agents.sandbox.supervisor"],
        "args": ["--token-sha256", token_sha256],
        "ports": [{"name": "supervisor", "containerPort": ports.SUPERVISOR_PORT}],
        "livenessProbe": _probe("/livez", period_seconds=10, failures=6),
        "readinessProbe": _probe("/healthz", period_seconds=5, failures=1),
        "resources": settings.supervisor.manifest(),
        "securityContext": container_security(HARNESS_UID),
        "volumeMounts": [
            {"name": "runner", "mountPath": RUNNER_DIRECTORY},
            {"name": "socket", "mountPath": SOCKET_DIRECTORY},
            {"name": "journal", "mountPath": JOURNAL_DIRECTORY},
            {"name": "uploads", "mountPath": UPLOADS},
            _outputs_mount(sandbox) | {"readOnly": True},
        ],
    }


def _tools(
    sandbox: dict[str, Any], mounts: list[dict[str, Any]], variables: dict[str, str], settings: SessionSettings
) -> dict[str, Any]:
    on_claim = bool(sandbox.get("workspace"))
    return {
        "name": "tools",
        "image": sandbox.get("image") or settings.sandbox_image,
        "imagePullPolicy": settings.image_pull_policy,
        "command": ["python3", "-IS", "-c", START_RUNNER, f"{RUNNER_DIRECTORY}/runner.pyz"],
        "workingDir": WORKSPACE,
        "env": tools_environment(WORKSPACE, variables, mounts),
        "resources": _resources(sandbox, settings),
        "securityContext": container_security(TOOLS_UID, read_only=False),
        "volumeMounts": [
            {"name": "runner", "mountPath": RUNNER_DIRECTORY, "readOnly": True},
            {"name": "socket", "mountPath": SOCKET_DIRECTORY, "readOnly": True},
            {"name": "workspace", "mountPath": WORKSPACE} | ({"subPath": "workspace"} if on_claim else {}),
            _outputs_mount(sandbox),
            {"name": "uploads", "mountPath": UPLOADS, "readOnly": True},
            *(
                {"name": f"mount-{index}", "mountPath": mount["mountPath"], "readOnly": True}
                for index, mount in enumerate(mounts)
            ),
        ],
    }


def _outputs_mount(sandbox: dict[str, Any]) -> dict[str, Any]:
    # on a claim, outputs lie beside the workspace and outlive the Pod with it
    if sandbox.get("workspace"):
        return {"name": "workspace", "mountPath": OUTPUTS, "subPath": "outputs"}
    return {"name": "outputs", "mountPath": OUTPUTS}


def _resources(sandbox: dict[str, Any], settings: SessionSettings) -> dict[str, dict[str, str]]:
    """Overlay the Environment's resources on the installation's; a request never exceeds its limit."""
    given = sandbox.get("resources") or {}
    limits = {**settings.sandbox.limits, **{key: str(value) for key, value in (given.get("limits") or {}).items()}}
    if "requests" in given:
        return {"requests": {key: str(value) for key, value in given["requests"].items()}, "limits": limits}
    requests = {
        key: limits[key] if key in (given.get("limits") or {}) and _is_smaller(limits[key], value) else value
        for key, value in settings.sandbox.requests.items()
    }
    return {"requests": requests, "limits": limits}


_SUFFIXES = {
    "m": 0.001,
    "": 1.0,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "Ki": 2.0**10,
    "Mi": 2.0**20,
    "Gi": 2.0**30,
    "Ti": 2.0**40,
}


def _is_smaller(quantity: str, other: str) -> bool:
    return _number(quantity) < _number(other)


def _number(quantity: str) -> float:
    digits = quantity.rstrip("kMGTPEim")
    return float(digits) * _SUFFIXES.get(quantity[len(digits) :], 1.0)


def _volumes(claim: str, sandbox: dict[str, Any], mounts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    files: list[dict[str, Any]] = [{"name": "workspace", "emptyDir": {}}, {"name": "outputs", "emptyDir": {}}]
    if sandbox.get("workspace"):
        files = [{"name": "workspace", "persistentVolumeClaim": {"claimName": claim}}]
    return [
        {"name": "runner", "emptyDir": {"sizeLimit": "16Mi"}},
        {"name": "socket", "emptyDir": {"sizeLimit": "1Mi"}},
        {"name": "journal", "emptyDir": {"sizeLimit": "512Mi"}},
        *files,
        {"name": "uploads", "emptyDir": {}},
        *(
            {"name": f"mount-{index}", "configMap": {"name": mount["configMapRef"]["name"], "defaultMode": 0o444}}
            for index, mount in enumerate(mounts)
        ),
    ]


def _probe(path: str, *, period_seconds: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": ports.SUPERVISOR_PORT},
        "periodSeconds": period_seconds,
        "timeoutSeconds": 3,
        "failureThreshold": failures,
    }
