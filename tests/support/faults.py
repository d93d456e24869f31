"""Kills of the parts of a running system in cluster tests: from outside and without grace."""

import json
from collections.abc import Callable

from support.cluster import Object, eventually, kill_container, kubectl

SYSTEM = "managed-agents-system"
SERVER, OPERATOR = "managed-agents-server", "managed-agents-operator"

Fault = Callable[[str, str], None]
"""Takes the namespace and the name of the session that meets it."""


def kill_worker(namespace: str, session: str) -> None:
    """Kill the harness process that holds the session, not the respawner above it."""
    pod = _pod_of(namespace, session, "harness")["metadata"]["name"]
    code = (
        "import os,signal\n"
        "for p in os.listdir('/proc'):\n"
        "    if p.isdigit() and p != '1' and int(p) != os.getpid():\n"
        "        stat = open(f'/proc/{p}/stat').read().rsplit(')', 1)[1].split()\n"
        "        if stat[1] == '1': os.kill(int(p), signal.SIGKILL)\n"
    )
    kubectl("exec", "-n", namespace, pod, "-c", "harness", "--", "python3", "-c", code)


def kill_harness_pod(namespace: str, session: str) -> None:
    """Delete the Pod of harness and proxy."""
    _delete(_pod_of(namespace, session, "harness"))


def kill_proxy(namespace: str, session: str) -> None:
    """Kill the proxy's PID 1 from the node, while the harness beside it lives on."""
    kill_container(_pod_of(namespace, session, "harness"), "proxy")


def kill_tools_container(namespace: str, session: str) -> None:
    """Kill the tools container's PID 1 from the node, as the kernel would when the container is out of memory."""
    kill_container(_pod_of(namespace, session, "sandbox"), "tools")


def kill_sandbox_pod(namespace: str, session: str) -> None:
    """Delete the sandbox Pod."""
    _delete(_pod_of(namespace, session, "sandbox"))


def kill_component(name: str) -> set[str]:
    """Delete the Pods of a part of the control plane; return their UIDs."""
    killed = pods(SYSTEM, f"app.kubernetes.io/name={name}")
    assert killed, f"no Pod of {name}"
    for pod in killed:
        _delete(pod)
    return {pod["metadata"]["uid"] for pod in killed}


def is_replaced(name: str, killed: set[str]) -> bool:
    """Tell whether a Pod of that part is ready that is none of those killed."""
    found = pods(SYSTEM, f"app.kubernetes.io/name={name}")
    return any(_is_ready(pod) for pod in found if pod["metadata"]["uid"] not in killed)


def pods(namespace: str, selector: str) -> list[Object]:
    """Return the Pods with these labels."""
    result: list[Object] = json.loads(kubectl("get", "pods", "-n", namespace, "-l", selector, "-o", "json"))["items"]
    return result


def _pod_of(namespace: str, session: str, component: str) -> Object:
    """Return the session's one Pod of a component that is not on its way out, once there is one."""
    selector = f"managedagents.dev/session={session},app.kubernetes.io/component={component}"

    def living() -> list[Object]:
        return [pod for pod in pods(namespace, selector) if "deletionTimestamp" not in pod["metadata"]]

    return eventually(f"session {session} has a {component} Pod", living)[0]


def _is_ready(pod: Object) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    return any((condition["type"], condition["status"]) == ("Ready", "True") for condition in conditions)


def _delete(pod: Object) -> None:
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    kubectl("delete", "-n", namespace, "pod", name, "--grace-period=0", "--force", "--wait=false")
