"""A real kube-apiserver on a real etcd, for tests of admission: schemas, CEL rules, policies and permissions.

Binaries come from `scripts/cluster` (`$XDG_CACHE_HOME/managed-agents/bin`) or from PATH. Nothing else of a cluster
runs: no controller, so no garbage collection, no default ServiceAccount and no namespace clean-up.
"""

import os
import secrets
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from cluster.paths import paths_from
from support.kubeclient import KubeClient, KubeError, client_from_kubeconfig, eventually

START_SECONDS = 30.0
"""Bound of the start; 3 s on an idle machine, more beside a compiler."""

STOP_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Binaries:
    """The two programs of a bare control plane."""

    etcd: Path
    kube_apiserver: Path


def find_binaries() -> Binaries | None:
    """Find both programs in the cache of `scripts/cluster`, then on PATH; None where one is missing."""
    etcd, kube_apiserver = (cached_program(name) or _on_path(name) for name in ("etcd", "kube-apiserver"))
    if etcd is None or kube_apiserver is None:
        return None
    return Binaries(etcd=etcd, kube_apiserver=kube_apiserver)


def cached_program(name: str) -> Path | None:
    """Find a program that `scripts/cluster` has built."""
    program = paths_from().bin / name
    return program if os.access(program, os.X_OK) else None


def _on_path(name: str) -> Path | None:
    found = shutil.which(name)
    return Path(found) if found else None


@contextmanager
def running_apiserver(binaries: Binaries, folder: Path) -> Iterator[KubeClient]:
    """Start etcd and kube-apiserver on free loopback ports and yield a client in the group `system:masters`.

    Args: `folder` takes data, keys and logs. Raises: `RuntimeError` with the end of the log when one does not start.
    """
    with ExitStack() as stack:
        etcd_url = stack.enter_context(_running_etcd(binaries.etcd, folder))
        token = secrets.token_hex(16)
        port = _free_port()
        command = [str(binaries.kube_apiserver), *_apiserver_flags(folder, etcd_url, port, token)]
        process = stack.enter_context(_process(command, folder / "kube-apiserver.log"))
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # the certificate is made by the server itself, a second ago, on loopback
        client = KubeClient(host="127.0.0.1", port=port, context=context, token=token)
        _wait(process, folder / "kube-apiserver.log", lambda: _is_ready(client))
        yield client


@contextmanager
def _running_etcd(program: Path, folder: Path) -> Iterator[str]:
    client_url, peer_url = (f"http://127.0.0.1:{_free_port()}" for _ in range(2))
    command = [
        str(program),
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls={client_url}",
        f"--advertise-client-urls={client_url}",
        f"--listen-peer-urls={peer_url}",
        f"--initial-advertise-peer-urls={peer_url}",
        f"--initial-cluster=default={peer_url}",
        "--unsafe-no-fsync",
    ]
    with _process(command, folder / "etcd.log"):
        yield client_url


def _apiserver_flags(folder: Path, etcd_url: str, port: int, token: str) -> list[str]:
    tokens = folder / "tokens.csv"
    tokens.write_text(f'{token},admin,admin,"system:masters"\n')
    key = folder / "service-account.key"
    subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
    return [
        f"--etcd-servers={etcd_url}",
        "--bind-address=127.0.0.1",
        "--advertise-address=192.0.2.1",  # nobody uses it; without it a host with no default route is refused
        f"--secure-port={port}",
        f"--cert-dir={folder / 'certs'}",
        f"--token-auth-file={tokens}",
        "--authorization-mode=Node,RBAC",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={key}",
        f"--service-account-signing-key-file={key}",
        "--service-cluster-ip-range=10.96.0.0/24",
        "--disable-admission-plugins=ServiceAccount",  # it waits for ServiceAccounts that only a controller makes
        "--watch-cache=false",
        "--request-timeout=150s",  # one test validates ten times over, perhaps beside a compiler
    ]


@contextmanager
def _process(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlane:
    """A kube-apiserver to test against, and a namespace in it for the tests."""

    client: KubeClient
    namespace: str
    is_disposable: bool
    """Ours alone, so that a test may remove cluster-wide objects for a moment."""


class UnavailableError(Exception):
    """No kube-apiserver can be had; the text says why."""


@contextmanager
def control_plane(folder: Path) -> Iterator[ControlPlane]:
    """Yield a kube-apiserver with a fresh namespace: one of our own, else the cluster of KUBECONFIG.

    Raises: `UnavailableError`.
    """
    with ExitStack() as stack:
        binaries = find_binaries()
        if binaries is not None:
            client = stack.enter_context(running_apiserver(binaries, folder))
        elif os.environ.get("KUBECONFIG"):
            client = client_from_kubeconfig()
        else:
            raise UnavailableError("no kube-apiserver and etcd (build them with `make cluster`) and no KUBECONFIG")
        name = f"manifests-{secrets.token_hex(3)}"
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        client.create(namespace)
        stack.callback(client.delete, namespace)
        yield ControlPlane(client=client, namespace=name, is_disposable=binaries is not None)


def _wait(process: subprocess.Popen[bytes], log: Path, is_ready: Callable[[], bool]) -> None:
    def has_settled() -> bool:
        return is_ready() or process.poll() is not None

    with suppress(TimeoutError):
        eventually(has_settled, seconds=START_SECONDS)
    if not is_ready():
        raise RuntimeError(f"{log.stem} did not start:\n{log.read_text(errors='replace')[-2000:]}")


def _is_ready(client: KubeClient) -> bool:
    try:
        client.request("GET", "/readyz")
        client.request("GET", "/api/v1/namespaces/default")
    except (OSError, KubeError):
        return False
    return True


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
