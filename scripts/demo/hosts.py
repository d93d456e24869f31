"""Makes a host name resolve, inside the cluster, to the address at which its forwarder listens."""

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator

from demo.resolver import resolving

Kubectl = Callable[..., str]
MARK = "# demo-hosts"


def gateway() -> str:
    """Return the address of this network namespace that the cluster's node reaches: the source of a route to it."""
    node = subprocess.run(
        ["kubectl", "get", "nodes", "-o", "jsonpath={.items[0].status.addresses[0].address}"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    route = subprocess.run(["ip", "-json", "route", "get", node], check=True, capture_output=True, text=True).stdout
    address: str = json.loads(route)[0]["prefsrc"]
    return address


@contextlib.contextmanager
def mapped_host(host: str, address: str, kubectl: Kubectl) -> Iterator[None]:
    """Let the cluster's DNS give the name an address of this namespace, until the block ends; then as it was before."""
    with resolving(host, address) as port:
        before = without_hosts(_corefile(kubectl))
        try:
            _use(with_host(before, host, f"{address}:{port}"), kubectl)
            yield
        finally:
            _use(before, kubectl)


def with_host(corefile: str, host: str, resolver: str) -> str:
    """Return the Corefile in which a resolver, `ADDRESS:PORT`, answers for the name."""
    block = [f"{host}:53 {{ {MARK}", f"    forward . {resolver} {MARK}", f"}} {MARK}"]
    return "\n".join([*block, without_hosts(corefile)])


def without_hosts(corefile: str) -> str:
    """Return the Corefile without what `with_host` has put in."""
    return "".join(line for line in corefile.splitlines(keepends=True) if MARK not in line)


def _corefile(kubectl: Kubectl) -> str:
    config = json.loads(kubectl("get", "configmap", "-n", "kube-system", "coredns", "-o", "json"))
    text: str = config["data"]["Corefile"]
    return text


def _use(corefile: str, kubectl: Kubectl) -> None:
    """Change the cluster's DNS, where it differs, and wait until it has started with that."""
    if corefile == _corefile(kubectl):
        return
    patch = json.dumps({"data": {"Corefile": corefile}})
    kubectl("patch", "configmap", "-n", "kube-system", "coredns", "--patch", patch)
    kubectl("rollout", "restart", "-n", "kube-system", "deployment/coredns")
    kubectl("rollout", "status", "-n", "kube-system", "deployment/coredns", "--timeout=60s")
