"""A small server of a test in a Pod of its namespace, behind a Service: its files, and the command that serves them."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from support.cluster import Namespace, Object, kubectl
from support.policyprobe import create, probe_image

SANDBOX_IMAGE = "docker.io/managed-agents/sandbox:dev"
"""Has Python and a C++ library; the cluster has it for the sandboxes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerPod:
    """A server that takes connections: its name in the cluster, and its Pod's address."""

    host: str
    address: str


def server_pod(
    namespace: Namespace,
    name: str,
    command: Sequence[str],
    *,
    port: int,
    files: Mapping[str, str | bytes],
    has_own_address: bool = False,
    programs: str = "",
    memory: str = "64Mi",
) -> ServerPod:
    """Start the command, which finds its files in `/files`, and wait until it takes connections at the port.

    With `has_own_address` the Service has an address beside the Pod's, and opens that one port. `programs` is a folder
    of the node's, which the command finds as `/programs`, in the image of sandboxes.
    """
    labels = {"app": name}
    volumes: list[Object] = [{"name": "files", "secret": {"secretName": name}}]
    mounts: list[Object] = [{"name": "files", "mountPath": "/files"}]
    if programs:
        volumes.append({"name": "programs", "hostPath": {"path": programs, "type": "Directory"}})
        mounts.append({"name": "programs", "mountPath": "/programs", "readOnly": True})
    container = {
        "name": "main",
        "image": SANDBOX_IMAGE if programs else probe_image(),
        "imagePullPolicy": "Never",
        "command": list(command),
        "volumeMounts": mounts,
        "readinessProbe": {"tcpSocket": {"port": port}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "1m", "memory": "16Mi"}, "limits": {"cpu": "500m", "memory": memory}},
    }
    spec: Object = {
        "containers": [container],
        "volumes": volumes,
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
    }
    reach: Object = {"ports": [{"port": port}]} if has_own_address else {"clusterIP": "None"}
    create(
        namespace.name,
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": _encoded(files)},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {**reach, "selector": labels}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec},
    )
    kubectl("wait", "-n", namespace.name, f"pod/{name}", "--for=condition=Ready", "--timeout=60s")
    address = str(namespace.get("pod", name)["status"]["podIP"])
    return ServerPod(host=f"{name}.{namespace.name}.svc.cluster.local", address=address)


def python_server(
    namespace: Namespace, name: str, program: str, *, port: int, files: Mapping[str, str] | None = None
) -> ServerPod:
    """Start a Python program as a server without an address of its Service's own."""
    command = ["python3", "-u", "/files/server.py"]
    return server_pod(namespace, name, command, port=port, files={**(files or {}), "server.py": program})


def file_server(namespace: Namespace, name: str, files: Mapping[str, str | bytes]) -> ServerPod:
    """Serve these files by HTTP at port 80."""
    command = ["python3", "-u", "-m", "http.server", "80", "--directory", "/files"]
    return server_pod(namespace, name, command, port=80, files=files)


def _encoded(files: Mapping[str, str | bytes]) -> dict[str, str]:
    contents = {name: file.encode() if isinstance(file, str) else file for name, file in files.items()}
    return {name: base64.b64encode(content).decode() for name, content in contents.items()}
