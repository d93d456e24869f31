"""The simulated model opened to this machine for the time of a run."""

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from support.cluster import eventually, kubectl

SYSTEM = "managed-agents-system"
NODE_PORT = 30850
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "bench-simulator", "namespace": SYSTEM},
    "spec": {
        "type": "NodePort",
        "selector": {"app.kubernetes.io/name": "simulator"},
        "ports": [{"port": 8500, "nodePort": NODE_PORT}],
    },
}
POLICY = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "bench-simulator", "namespace": SYSTEM},
    "spec": {
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "simulator"}},
        "policyTypes": ["Ingress"],
        "ingress": [{"ports": [{"port": 8500}]}],
    },
}


@contextmanager
def simulator() -> Iterator[str]:
    """Open the simulated model to this machine; yields its base URL."""
    try:
        for manifest in (SERVICE, POLICY):
            kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
        address = kubectl(
            "get", "nodes", "-o", 'jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}'
        )
        url = f"http://{address}:{NODE_PORT}"
        eventually("the simulated model answers", lambda: _answers(url), seconds=20)
        yield url
    finally:
        kubectl("delete", "-n", SYSTEM, "service,networkpolicy", "bench-simulator", "--ignore-not-found")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/healthz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
