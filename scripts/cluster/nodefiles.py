"""Lays our files and kind's over a Debian root, so that it becomes a kind node.

The steps follow images/base/Dockerfile of the kind module; its files are taken from there, never copied into this
repository.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

from cluster.recipe import HERE, KUBERNETES_VERSION

_NODE_FILES: Mapping[str, str] = {
    "containerd.toml": "etc/containerd/config.toml",
    "10-managed-agents.conflist": "etc/cni/net.d/10-managed-agents.conflist",
    "default-cni.yaml": "kind/manifests/default-cni.yaml",
    "default-storage.yaml": "kind/manifests/default-storage.yaml",
}

_UNWANTED_UNITS = (
    "lib/systemd/system/sysinit.target.wants/systemd-tmpfiles-setup.service",
    "lib/systemd/system/multi-user.target.wants/*",
    "etc/systemd/system/*.wants/*",
    "lib/systemd/system/local-fs.target.wants/*",
    "lib/systemd/system/sockets.target.wants/*udev*",
    "lib/systemd/system/sockets.target.wants/*initctl*",
    "lib/systemd/system/basic.target.wants/*",
)

_ENABLED_SERVICES = ("kubelet", "containerd", "undo-mount-hacks")

_LINKS: Mapping[str, str] = {
    "sbin/init": "/lib/systemd/systemd",
    "usr/local/bin/containerd": "/usr/bin/containerd",
    "usr/local/bin/containerd-shim-runc-v2": "/usr/bin/containerd-shim-runc-v2",
    "usr/local/bin/ctr": "/usr/bin/ctr",
    "usr/local/sbin/runc": "/usr/sbin/runc",
    "opt/cni/bin": "/usr/lib/cni",
    "etc/systemd/system/systemd-binfmt.service": "/dev/null",
}


def lay_out_node(root: Path, kind_base: Path, programs: Mapping[str, Path]) -> None:
    """Turns the Debian tree at ``root`` into a node; ``kind_base`` is images/base/files of the kind module.

    ``programs`` maps paths in the root to built programs. Nothing outside ``root`` is written.
    """
    _copy_kind_files(root, kind_base)
    _trim_systemd(root)
    for name, target in _LINKS.items():
        _link(root / name, target)
    for source, name in _NODE_FILES.items():
        _copy(HERE / "node" / source, root / name, 0o644)
    _copy(HERE / "node" / "announce-pod", root / "usr/lib/cni/announce-pod", 0o755)
    for patch in sorted((HERE / "node" / "patches").iterdir()):
        _copy(patch, root / "kind/patches" / patch.name, 0o644)
    for name, program in programs.items():
        _copy(program, root / name, 0o755)
    (root / "kind/version").write_text(KUBERNETES_VERSION)
    (root / "etc/kubernetes/manifests").mkdir(parents=True, exist_ok=True)


def _copy_kind_files(root: Path, kind_base: Path) -> None:
    for source in sorted(path for path in kind_base.rglob("*") if path.is_file()):
        name = source.relative_to(kind_base)
        executable = "bin" in name.parts
        _copy(source, root / name, 0o755 if executable else 0o644)


def _trim_systemd(root: Path) -> None:
    for pattern in _UNWANTED_UNITS:
        for unit in root.glob(pattern):
            unit.unlink()
    for service in _ENABLED_SERVICES:
        unit_name = f"{service}.service"
        _link(root / "etc/systemd/system/multi-user.target.wants" / unit_name, f"/etc/systemd/system/{unit_name}")
    with (root / "etc/systemd/journald.conf").open("a") as settings:
        settings.write("ReadKMsg=no\n")


def _copy(source: Path, target: Path, mode: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    shutil.copyfile(source, target)
    target.chmod(mode)


def _link(link: Path, target: str) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.is_symlink() or link.is_file():
        link.unlink()
    elif link.is_dir():
        shutil.rmtree(link)
    link.symlink_to(target)
