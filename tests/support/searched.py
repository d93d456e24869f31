"""The places on a cluster where a secret of a tenant could have come out: what is read of each, and its files."""

import json
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any

from support.arena import Arena
from support.cluster import SYSTEM, Namespace, Object, container_pid, kubectl, on_node, read_in_container

KINDS = (
    "pods,deployments,replicasets,jobs,sessions,vaults,agents,environments,modelproviders,apikeys,configmaps,events,"
    "controllerrevisions,persistentvolumeclaims,serviceaccounts,services,networkpolicies,roles,rolebindings"
)
"""All but Secrets, where they belong."""

FOLDERS = {
    "tools": ("workspace", "mnt/session", "tmp", "managed-agents", "managed-agents-socket"),
    "supervisor": ("journal", "mnt/session", "managed-agents"),
    "harness": ("tmp",),
    "server": ("var/lib/managed-agents", "tmp"),
    "operator": ("tmp",),
    "simulator": ("tmp",),
}
"""What each container can write to, core files included; the proxy has a read-only root and nothing else."""


def containers(namespace: Namespace, sessions: Sequence[str]) -> Iterator[tuple[Object, str]]:
    """Yield every container of ours that runs: of these sessions, and of the control plane."""
    for session in sessions:
        for pod in namespace.pods(session):
            if pod["metadata"].get("ownerReferences"):  # labels alone say nothing
                yield from _containers_of(pod)
    for pod in json.loads(kubectl("get", "pods", "-n", SYSTEM, "-o", "json"))["items"]:
        if pod["status"]["phase"] == "Running" and not pod["metadata"].get("deletionTimestamp"):
            yield from _containers_of(pod)


def texts(namespace: Namespace, sessions: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Yield what can be read without touching a file: logs, objects, Events, answers of the API, environments."""
    name = namespace.name
    yield "objects", kubectl("get", KINDS, "-n", name, "-o", "json", "--show-managed-fields").encode()
    yield "description", kubectl("describe", "pods,sessions,vaults", "-n", name).encode()
    yield "objects of the system", kubectl("get", "pods,events,configmaps", "-n", SYSTEM, "-o", "json").encode()
    for pod, container in containers(namespace, sessions):
        place = f"{pod['metadata']['name']}/{container}"
        where = ["-n", pod["metadata"]["namespace"], pod["metadata"]["name"], "-c", container]
        yield f"log of {place}", kubectl("logs", *where, "--tail=-1", "--since=1h").encode()
        for file in ("environ", "cmdline"):
            yield f"{file} of {place}", (read_in_container(pod, container, file) or "").encode()
    beta = namespace.client.beta
    for session in sessions:
        yield f"events of {session}", json.dumps(namespace.events(session), ensure_ascii=False).encode()
        yield f"session {session}", beta.sessions.retrieve(namespace.session_id(session)).to_json().encode()
    for what, listed in _lists(beta):
        yield what, "".join(item.to_json() for item in listed).encode()


def files(namespace: Namespace, sessions: Sequence[str], needles: str) -> list[str]:
    """Return the files of our containers that hold one of the needles, looked for on the node."""
    found: list[str] = []
    for pod, container in containers(namespace, sessions):
        pid = container_pid(pod, container)
        folders = [f"/proc/{pid}/root/{folder}" for folder in FOLDERS.get(container, ())]
        if folders:
            command = ["grep", "-r", "-l", "-a", "-s", "-F", "-D", "skip", "-f", "-", *folders]
            try:
                said = on_node(pod, *command, stdin=needles)
            except subprocess.CalledProcessError as nothing:  # 1: none holds one; 2: a file went away
                said = nothing.stdout.decode(errors="replace")
            found += [f"{container}: {line.partition('/root')[2]}" for line in said.splitlines()]
    return found


def _containers_of(pod: Object) -> Iterator[tuple[Object, str]]:
    for container in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]:
        if container.get("restartPolicy") or container in pod["spec"]["containers"]:
            yield pod, container["name"]


def _lists(beta: Any) -> Iterator[tuple[str, list[Any]]]:
    vaults = list(beta.vaults.list())
    yield "vaults", vaults
    yield "credentials", [item for vault in vaults for item in beta.vaults.credentials.list(vault.id)]
    yield "agents", list(beta.agents.list())
    yield "environments", list(beta.environments.list())


def metrics(arena: Arena) -> bytes:
    """Return what server and operator tell of themselves."""
    labels = ["-l", "app.kubernetes.io/component=operator"]
    operator = kubectl("get", "pod", "-n", SYSTEM, *labels, "-o", "jsonpath={.items[0].status.podIP}")
    places = [f"http://managed-agents-server.{SYSTEM}.svc:8400/metrics", f"http://{operator}:8600/metrics"]
    code = f"""
    import json, urllib.request
    print(json.dumps([urllib.request.urlopen(place, timeout=20).read().decode() for place in {places!r}]))
    """
    return "".join(arena.in_container(arena.bystander(), "main", code)).encode()
