"""What the self-built node is made of: pinned versions, package lists, and the hashes under which results are kept."""

import hashlib
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent

KUBERNETES_VERSION = "v1.34.4"
KIND_VERSION = "v0.30.0"
PAUSE_VERSION = "3.10.1"
COREDNS_TAG = "v1.12.1"
"""The tag kubeadm v1.34 asks for; the binary is the version in go/coredns/go.mod."""
ETCD_TAG = "3.6.5-0"
"""The tag kubeadm v1.34 asks for; the binary is the version in go/etcd/go.mod."""
PUBLIC_NODE_IMAGE = "kindest/node:v1.34.0@sha256:7416a61b42b1662ca6ca89f02028ac133a309a2a30ba309614e8ec94d976dc5a"
"""The node image that kind v0.30.0 was released with, used where an engine can pull it."""

LOCAL_REGISTRY = "managed-agents.local"
"""Name before the images made here; no such host exists, so nothing can pull or replace them."""

DEBIAN_SUITE = "bookworm"
DEBIAN_SOURCES: tuple[str, ...] = ()
"""None named: mmdebstrap then takes the suite's own, with its updates and security."""

HOST_PACKAGES = (
    "buildah",
    "ca-certificates",
    "containerd",
    "debian-archive-keyring",
    "docker.io",
    "gcc",
    "iproute2",
    "iptables",
    "libc6-dev",
    "mmdebstrap",
    "nftables",
    "runc",
    "util-linux",
)
"""Debian and Ubuntu packages the host needs when no engine is there."""

NETWORK_PACKAGES = ("conntrack", "iproute2", "iptables", "kmod", "libpython3-stdlib", "nftables", "python3-minimal")
"""Packages of the small root under kube-proxy, the policy agent, the storage helper and test probes."""

NODE_PACKAGES = (
    "ca-certificates",
    "conntrack",
    "containerd",
    "containernetworking-plugins",
    "dbus",
    "ethtool",
    "iproute2",
    "iptables",
    "jq",
    "kmod",
    "mount",
    "nftables",
    "procps",
    "runc",
    "socat",
    "systemd",
    "util-linux",
)
"""Packages of the node itself, after kind's images/base/Dockerfile."""

_VERSION_PACKAGES = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")


def _kubernetes_flags() -> str:
    """Linker flags that stamp the version, which kubeadm reads."""
    _, minor, _ = KUBERNETES_VERSION.split(".")
    stamps = [
        f"-X {package}.{name}={value}"
        for package in _VERSION_PACKAGES
        for name, value in (("gitVersion", KUBERNETES_VERSION), ("gitMajor", "1"), ("gitMinor", minor))
    ]
    return " ".join(["-s -w", *stamps])


@dataclass(frozen=True, slots=True, kw_only=True)
class GoPart:
    """Programs built from one go.mod under ``go/NAME``; ``programs`` maps the built name to the name we use."""

    name: str
    programs: dict[str, str]
    target: str = "tool"
    flags: str = "-s -w"

    @property
    def folder(self) -> Path:
        return HERE / "go" / self.name

    @property
    def key(self) -> str:
        """Hash of everything that decides the result."""
        texts = [platform.machine(), self.target, self.flags, *sorted(self.programs.values())]
        return hash_of(texts, sorted(self.folder.iterdir()))


KUBERNETES_PROGRAMS = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubeadm",
    "kubectl",
    "kubelet",
)

KIND = GoPart(name="kind", programs={"kind": "kind"})
KUBERNETES = GoPart(name="kubernetes", programs={name: name for name in KUBERNETES_PROGRAMS}, flags=_kubernetes_flags())
ETCD = GoPart(name="etcd", programs={"server": "etcd"})
COREDNS = GoPart(name="coredns", programs={"coredns": "coredns"}, target=".")
PROVISIONER = GoPart(name="local-path-provisioner", programs={"local-path-provisioner": "local-path-provisioner"})
GO_PARTS = (KIND, KUBERNETES, ETCD, PROVISIONER, COREDNS)


def hash_of(texts: Iterable[str], files: Iterable[Path] = ()) -> str:
    """Returns 16 hexadecimal digits over the texts and over the names and bytes of the files."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode() + b"\0")
    for file in files:
        digest.update(file.name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


def node_key() -> str:
    """Hash of the whole self-built node image: programs, package lists and our own files on the node."""
    own = [file for folder in ("node", "netpol") for file in sorted((HERE / folder).rglob("*")) if _is_source(file)]
    builders = [HERE / name for name in ("recipe.py", "rootfs.py", "archive.py", "nodeimage.py", "nodefiles.py")]
    keys = [part.key for part in GO_PARTS]
    return hash_of([*keys, *NETWORK_PACKAGES, *NODE_PACKAGES, *DEBIAN_SOURCES], [*own, *builders])


def _is_source(file: Path) -> bool:
    return file.is_file() and file.suffix != ".pyc"
