"""Builds the self-made counterpart of ``kindest/node`` as one tar that ``docker import`` reads."""

import json
import platform
import shutil
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cluster.archive import Image, Layer, layer_from_files, layer_of, write_archive
from cluster.gobuild import build_part, build_pause, module_folder
from cluster.nodefiles import lay_out_node
from cluster.paths import Paths
from cluster.progress import ClusterError, Progress
from cluster.recipe import (
    COREDNS_TAG,
    ETCD_TAG,
    GO_PARTS,
    HERE,
    KIND,
    KUBERNETES_VERSION,
    LOCAL_REGISTRY,
    NETWORK_PACKAGES,
    NODE_PACKAGES,
    PAUSE_VERSION,
    node_key,
)
from cluster.rootfs import build_rootfs

ARCHITECTURES: Mapping[str, str] = {"x86_64": "amd64", "aarch64": "arm64"}

_PRELOAD = """
set -eu
mount -t proc proc /proc
printf 'version = 2\\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\\n' > /tmp/containerd.toml
containerd --config /tmp/containerd.toml & server=$!
for _ in $(seq 100); do ctr version >/dev/null 2>&1 && break; sleep 0.1; done
ctr --namespace k8s.io images import --all-platforms --no-unpack /images.tar
ctr oci spec > /cri-spec.json
kill "$server"
wait "$server" || true
rm -rf /tmp/containerd.toml /run/containerd
"""


def node_image(paths: Paths, progress: Progress) -> Path:
    """Returns the node's tar, building whatever of it the cache lacks."""
    result = paths.builds / f"node-{node_key()}.tar"
    if result.is_file():
        return result
    paths.builds.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(max_workers=1) as debian:
        roots = debian.submit(_debian_roots, paths, progress)
        programs = _programs(paths, progress)
        network_root, node_root = roots.result()
    with progress.step("node image (system images preloaded)"):
        _assemble(result, network_root, node_root, programs, paths, progress)
    return result


def _debian_roots(paths: Paths, progress: Progress) -> tuple[Path, Path]:
    network = build_rootfs("network", NETWORK_PACKAGES, paths, progress)
    return network, build_rootfs("node", NODE_PACKAGES, paths, progress)


def _programs(paths: Paths, progress: Progress) -> dict[str, Path]:
    """Returns name -> file for every program on the node; shares nothing but the cache with the Debian part."""
    programs = {"pause": build_pause(PAUSE_VERSION, paths, progress)}
    for part in GO_PARTS:
        folder = build_part(part, paths, progress)
        programs.update({name: folder / name for name in part.programs.values()})
    return programs


def _assemble(
    result: Path, network_root: Path, node_root: Path, programs: Mapping[str, Path], paths: Paths, progress: Progress
) -> None:
    work = paths.cache / "work"
    remove_tree(work)
    root = work / "root"
    root.mkdir(parents=True)
    progress.run("node-unpack", ["tar", "--numeric-owner", "-xpf", node_root, "-C", root])
    kind_base = module_folder(KIND, "sigs.k8s.io/kind") / "images/base/files"
    placed = {f"usr/bin/{name}": programs[name] for name in ("kubeadm", "kubectl", "kubelet")}
    lay_out_node(root, kind_base, placed)
    write_archive(root / "images.tar", system_images(network_root, programs, work), _architecture())
    isolated = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "chroot", str(root)]
    progress.run("node-preload", [*isolated, "sh", "-c", _PRELOAD])
    (root / "images.tar").unlink()
    spec = root / "cri-spec.json"
    (root / "etc/containerd/cri-base.json").write_text(json.dumps(pod_spec_base(json.loads(spec.read_text()))))
    spec.unlink()
    scratch = work / "node.tar"
    progress.run("node-pack", ["tar", "--numeric-owner", "-cpf", scratch, "-C", root, "."])
    scratch.rename(result)
    remove_tree(work)


def system_images(network_root: Path, programs: Mapping[str, Path], work: Path) -> list[Image]:
    """Returns the images that kubeadm and our manifests name; all but two hold nothing but one program."""
    network = layer_of(network_root)
    names = {
        "kube-apiserver": f"registry.k8s.io/kube-apiserver:{KUBERNETES_VERSION}",
        "kube-controller-manager": f"registry.k8s.io/kube-controller-manager:{KUBERNETES_VERSION}",
        "kube-scheduler": f"registry.k8s.io/kube-scheduler:{KUBERNETES_VERSION}",
        "kube-proxy": f"registry.k8s.io/kube-proxy:{KUBERNETES_VERSION}",
        "etcd": f"registry.k8s.io/etcd:{ETCD_TAG}",
        "coredns": f"registry.k8s.io/coredns/coredns:{COREDNS_TAG}",
        "local-path-provisioner": f"{LOCAL_REGISTRY}/local-path-provisioner:current",
    }
    images = [
        _program_image(name, image, programs[name], work, [network] if name == "kube-proxy" else [])
        for name, image in names.items()
    ]
    pause = layer_from_files(work / "pause.tar", {"pause": programs["pause"]})
    pause_config = {"Entrypoint": ["/pause"], "User": "65535:65535"}
    images.append(Image(name=f"registry.k8s.io/pause:{PAUSE_VERSION}", layers=[pause], config=pause_config))
    agent = {f"netpol/{file.name}": file for file in sorted((HERE / "netpol").glob("*.py"))}
    agent_layer = layer_from_files(work / "netpol.tar", agent)
    network_config = {"Env": [f"PATH={_PATH}", "PYTHONDONTWRITEBYTECODE=1"], "Cmd": ["/bin/sh"], "WorkingDir": "/"}
    images.append(Image(name=f"{LOCAL_REGISTRY}/network:current", layers=[network, agent_layer], config=network_config))
    return images


_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def _program_image(name: str, image: str, program: Path, work: Path, below: list[Layer]) -> Image:
    layer = layer_from_files(work / f"{name}.tar", {f"usr/local/bin/{name}": program})
    config: dict[str, object] = {"Env": [f"PATH={_PATH}"], "Entrypoint": [f"/usr/local/bin/{name}"], "WorkingDir": "/"}
    if name == "coredns":
        config["User"] = "65532:65532"
    return Image(name=image, layers=[*below, layer], config=config)


def pod_spec_base(spec: dict[str, dict[str, object]]) -> dict[str, dict[str, object]]:
    """Adds kind's hook to the runtime specification and drops its limits, as kind's Dockerfile does with jq."""
    hook = {"path": "/kind/bin/mount-product-files.sh"}
    process = {name: value for name, value in spec["process"].items() if name != "rlimits"}
    return {**spec, "process": process, "hooks": {**spec.get("hooks", {}), "createContainer": [hook]}}


def _architecture() -> str:
    machine = platform.machine()
    if machine not in ARCHITECTURES:
        raise ClusterError(f"no node image for {machine}; known: {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[machine]


def remove_tree(folder: Path) -> None:
    """Removes a tree of root's files; refuses one with mounts inside, which would reach beyond it."""
    mounts = Path("/proc/self/mountinfo").read_text()
    if f" {folder}/" in mounts:
        subprocess.run(["umount", "-R", "-l", folder], check=False)
    shutil.rmtree(folder, ignore_errors=True)
