"""Makes the kind cluster and waits until it can run Pods with volumes and names."""

import shutil
import time
from dataclasses import replace
from pathlib import Path

from cluster.access import Access, environment_text, recorded_access
from cluster.engine import start_engine
from cluster.gobuild import build_part
from cluster.host import Way, install_packages, observe_host, way_for
from cluster.nodeimage import node_image
from cluster.paths import CLUSTER_NAME, REPOSITORY, Paths
from cluster.progress import ClusterError, Progress
from cluster.recipe import KIND, KUBERNETES, LOCAL_REGISTRY, PUBLIC_NODE_IMAGE, hash_of, node_key

CONFIG = REPOSITORY / "kind-config.yaml"
READY_SECONDS = 180

SMALL_REQUESTS_PATCH = """  - |
    kind: InitConfiguration
    # Written into the self-built node image: smaller CPU requests for the control plane, one CoreDNS.
    patches:
      directory: /kind/patches
"""

_NODE_CHANGES = (
    "ENV container=docker PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    'ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]',
)

KUBECTL = replace(KUBERNETES, programs={"kubectl": "kubectl"}, target="k8s.io/kubernetes/cmd/kubectl")
"""Alone: all of Kubernetes takes ten minutes, and the public node image brings it."""


def fingerprint_for(way: Way) -> str:
    """Hash of what the running cluster was made from; another value means that it must be made anew."""
    node = node_key() if way == "self-made" else PUBLIC_NODE_IMAGE
    return hash_of([way, node, CONFIG.read_text()])


def cluster_up(paths: Paths, progress: Progress) -> None:
    """Brings the cluster up from whatever state the machine is in; quick when it runs already."""
    recorded = recorded_access(paths)
    if recorded and _is_current(recorded) and recorded.answers():
        progress.say("the cluster is up; reach it with scripts/with-cluster")
        return
    way = way_for(observe_host(progress))
    access = Access(paths=paths, way=way)
    image = _prepare_self_made(paths, progress) if way == "self-made" else _prepare_plain(paths, progress)
    _create(access, image, progress)
    _await_ready(access, progress)
    paths.fingerprint_file.write_text(fingerprint_for(way))
    if way == "self-made":
        _drop_former_nodes(access, image)
    progress.say("the cluster is up; reach it like this: scripts/with-cluster kubectl get nodes")


def _is_current(access: Access) -> bool:
    file = access.paths.fingerprint_file
    return file.exists() and file.read_text() == fingerprint_for(access.way)


def _prepare_plain(paths: Paths, progress: Progress) -> str:
    build_missing_clients(paths, progress)
    return PUBLIC_NODE_IMAGE


def build_missing_clients(paths: Paths, progress: Progress) -> None:
    """Builds kind and kubectl where the machine has none."""
    if not shutil.which("kind"):
        build_part(KIND, paths, progress)
    if not shutil.which("kubectl"):
        build_part(KUBECTL, paths, progress)


def _prepare_self_made(paths: Paths, progress: Progress) -> str:
    """Returns the name of the node image, loaded into the running engine."""
    install_packages(progress)
    archive = node_image(paths, progress)
    for part in (KIND, KUBERNETES):
        build_part(part, paths, progress)
    start_engine(paths, progress)
    access = Access(paths=paths, way="self-made")
    name = f"{LOCAL_REGISTRY}/node:{node_key()}"
    if not access.succeeds(["docker", "image", "inspect", name]):
        with progress.step("node image into the engine"):
            changes = [word for change in _NODE_CHANGES for word in ("--change", change)]
            command = access.command(["docker", "import", *changes, archive, name])
            progress.run("node-import", command, environment=access.environment())
    return name


def _create(access: Access, image: str, progress: Progress) -> None:
    paths = access.paths
    paths.state.mkdir(parents=True, exist_ok=True)
    paths.fingerprint_file.unlink(missing_ok=True)
    config = paths.state / "kind-config.yaml"
    config.write_text(config_text(CONFIG.read_text(), access.way))
    _delete(access, progress)
    with progress.step("kind create cluster"):
        command: list[str | Path] = ["kind", "create", "cluster", "--name", CLUSTER_NAME, "--config", config]
        command += ["--image", image, "--kubeconfig", paths.kubeconfig]
        progress.run("kind-create", access.command(command), environment=access.environment())
    paths.environment_file.write_text(environment_text(access))


def config_text(config: str, way: Way) -> str:
    """Returns kind's configuration; the self-built node brings patches that kindest/node does not have."""
    return config + SMALL_REQUESTS_PATCH if way == "self-made" else config


def _delete(access: Access, progress: Progress) -> None:
    command = ["kind", "delete", "cluster", "--name", CLUSTER_NAME, "--kubeconfig", str(access.paths.kubeconfig)]
    progress.run("kind-delete", access.command(command), environment=access.environment())


def _await_ready(access: Access, progress: Progress) -> None:
    waits = (
        ("node", ["wait", "--for=condition=Ready", "node", "--all"]),
        ("DNS", ["--namespace=kube-system", "rollout", "status", "deployment/coredns"]),
        ("storage", ["--namespace=local-path-storage", "rollout", "status", "deployment/local-path-provisioner"]),
        ("network policies", ["--namespace=kube-system", "rollout", "status", f"daemonset/{_policy_agent(access)}"]),
    )
    deadline = time.monotonic() + READY_SECONDS
    with progress.step(f"waiting for {', '.join(name for name, _ in waits)}"):
        for name, words in waits:
            seconds = max(1, int(deadline - time.monotonic()))
            command = access.command(["kubectl", *words, f"--timeout={seconds}s"])
            progress.run(f"await-{name.replace(' ', '-')}", command, environment=access.environment())
    if "standard" not in (access.output(["kubectl", "get", "storageclass", "--output=name"]) or ""):
        raise ClusterError("the cluster has no StorageClass named standard")


def _drop_former_nodes(access: Access, image: str) -> None:
    """Removes node images of earlier recipes, over a gigabyte each; building one again from its parts takes seconds."""
    repository, tag = image.rsplit(":", 1)
    listed = access.output(["docker", "image", "ls", "--format", "{{.Tag}}", repository]) or ""
    for former in set(listed.split()) - {tag}:
        access.succeeds(["docker", "image", "rm", f"{repository}:{former}"], timeout_seconds=60)
    for archive in access.paths.builds.glob("node-*.tar"):
        if archive.name != f"node-{tag}.tar":
            archive.unlink()


def _policy_agent(access: Access) -> str:
    return "network-policy" if access.way == "self-made" else "kindnet"
