"""Real Pods that listen and probe each other, to see what NetworkPolicies let through."""

import json
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from support.cluster import KubectlError, Object, kubectl

IMAGES = ("managed-agents.local/network:current", "docker.io/managed-agents/sandbox:dev")
"""Images with python3, any of which may be in the node."""

TCP_PORTS: Mapping[str, int] = {"http": 8080, "admin": 9090}
UDP_PORT = 5353
PROBE_SECONDS = 0.7
"""A refused packet is dropped silently, so a probe takes this long to fail; an allowed one takes milliseconds."""

SERVER = f"""
import socket, threading
def tcp(port):
    with socket.create_server(("", port)) as server:
        while True:
            connection, _ = server.accept()
            connection.close()
for port in {list(TCP_PORTS.values())}:
    threading.Thread(target=tcp, args=(port,), daemon=True).start()
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("", {UDP_PORT}))
print("listening", flush=True)
while True:
    data, peer = udp.recvfrom(100)
    udp.sendto(data, peer)
"""

CLIENT = f"""
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor
def probe(target):
    protocol, host, port = target
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as link:
        link.settimeout({PROBE_SECONDS})
        try:
            link.connect((host, port))
            if protocol == "udp":
                link.send(b"?")
                link.recv(10)
            return True
        except OSError:
            return False
targets = json.loads(sys.argv[1])
with ThreadPoolExecutor(len(targets)) as pool:
    print(json.dumps(list(pool.map(probe, targets))))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Something to reach: ``protocol`` is "tcp" or "udp"."""

    protocol: str
    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """Two namespaces, `a` and `b`, with a `client` and a `server` Pod each, and a Service `server` in both."""

    namespaces: Mapping[str, str]
    addresses: Mapping[str, str]
    """"a/server" -> Pod address; "a/service" -> its Service's; "node" -> the node's."""

    def reachable(self, source: str, targets: Sequence[Target]) -> list[bool]:
        """Says for each target whether the Pod ``source``, such as "a/client", reaches it now."""
        side, name = source.split("/")
        encoded = json.dumps([(target.protocol, target.host, target.port) for target in targets])
        command = ["exec", "-n", self.namespaces[side], name, "--", "python3", "-c", CLIENT, encoded]
        answers: list[bool] = json.loads(kubectl(*command, seconds=30))
        return answers

    def target(self, text: str) -> Target:
        """Reads "a/server:http", "a/server:udp", "node:6443" and the like; "{name}" is not expanded here."""
        place, port = text.rsplit(":", 1)
        if port == "udp":
            return Target(protocol="udp", host=self.addresses[place], port=UDP_PORT)
        number = TCP_PORTS[port] if port in TCP_PORTS else int(port)
        return Target(protocol="tcp", host=self.addresses[place], port=number)

    def set_policies(self, policies: Iterable[tuple[str, Object]]) -> None:
        """Replaces all policies of both namespaces by these (side, spec) pairs."""
        run = self.namespaces["a"]
        kubectl("delete", "networkpolicies", "--all-namespaces", "-l", f"run={run}")
        items = []
        for index, (side, spec) in enumerate(policies):
            metadata = {"name": f"policy-{index}", "namespace": self.namespaces[side], "labels": {"run": run}}
            document = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata}
            items.append({**document, "spec": spec})
        if items:
            kubectl("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))


def probe_image() -> str:
    """Returns an image with python3 that the node has. Raises: LookupError when it has none."""
    nodes = json.loads(kubectl("get", "nodes", "-o", "json"))["items"]
    present = {name for node in nodes for image in node["status"]["images"] for name in image["names"]}
    for image in IMAGES:
        if image in present:
            return image
    raise LookupError(f"none of {', '.join(IMAGES)} is loaded in the cluster")


def probe_pod(name: str, code: str, image: str, **labels: str) -> Object:
    """Returns a Pod that runs Python code for ever."""
    container: dict[str, Any] = {
        "name": "main",
        "image": image,
        "imagePullPolicy": "Never",
        "command": ["python3", "-u", "-c", code],
        "ports": [{"name": name, "containerPort": port} for name, port in TCP_PORTS.items()],
        "resources": {"requests": {"cpu": "1m", "memory": "16Mi"}, "limits": {"cpu": "500m", "memory": "64Mi"}},
    }
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": False}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name, **labels}},
        "spec": spec,
    }


def _service() -> Object:
    ports = [{"name": name, "port": port, "targetPort": name} for name, port in TCP_PORTS.items()]
    spec = {"selector": {"app": "server"}, "ports": ports}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "server"}, "spec": spec}


def create(namespace: str, *objects: Object) -> None:
    """Creates objects in a namespace."""
    document = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
    kubectl("create", "-n", namespace, "-f", "-", stdin=json.dumps(document))


@contextmanager
def policy_field(suffix: str) -> Iterator[Field]:
    """Makes the two namespaces with their Pods, and removes them."""
    image = probe_image()
    namespaces = {side: f"policy-{side}-{suffix}" for side in ("a", "b")}
    try:
        for side, namespace in namespaces.items():
            kubectl("create", "namespace", namespace)
            kubectl("label", "namespace", namespace, f"team={side}", f"run={suffix}")
            server = probe_pod("server", SERVER, image, tier="back")
            create(namespace, server, probe_pod("client", SERVER, image, tier="front"), _service())
        yield Field(namespaces=namespaces, addresses=_addresses(namespaces))
    finally:
        remove_namespaces(namespaces.values())


def _addresses(namespaces: Mapping[str, str]) -> dict[str, str]:
    found = {"node": kubectl("get", "nodes", "-o", "jsonpath={.items[0].status.addresses[0].address}")}
    for side, namespace in namespaces.items():
        kubectl("wait", "-n", namespace, "--for=condition=Ready", "pods", "--all", "--timeout=60s")
        for name in ("client", "server"):
            found[f"{side}/{name}"] = kubectl("get", "-n", namespace, "pod", name, "-o", "jsonpath={.status.podIP}")
        found[f"{side}/service"] = kubectl(
            "get", "-n", namespace, "service", "server", "-o", "jsonpath={.spec.clusterIP}"
        )
    return found


def remove_namespaces(names: Iterable[str]) -> None:
    """Starts the removal of namespaces; the rest happens in the cluster's own time."""
    try:
        kubectl("delete", "namespace", *names, "--wait=false", "--ignore-not-found")
    except (KubectlError, subprocess.TimeoutExpired) as problem:
        raise AssertionError(f"cannot remove the test's namespaces: {problem}") from problem
