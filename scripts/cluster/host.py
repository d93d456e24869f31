"""What this machine offers: an engine that can pull, or root on Debian or Ubuntu to make one."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cluster.progress import ClusterError, Progress
from cluster.recipe import HOST_PACKAGES, PUBLIC_NODE_IMAGE

PULL_SECONDS = 900
ENGINE_SECONDS = 10

_APT = ("apt-get", "-o", "DPkg::Lock::Timeout=300")
_PROGRAMS = {"docker.io": "dockerd", "containerd": "containerd", "runc": "runc"}
"""Programs that another package may have brought, which then conflicts with Debian's."""

Way = Literal["plain", "self-made"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """Facts that decide how the cluster is made."""

    engine_answers: bool
    has_node_image: bool
    is_root: bool
    distribution: str


def observe_host(progress: Progress) -> Host:
    """Asks the engine of the environment, and pulls the public node image if there is one to ask."""
    answers = _succeeds(["docker", "info"], ENGINE_SECONDS)
    return Host(
        engine_answers=answers,
        has_node_image=answers and _has_node_image(progress),
        is_root=os.geteuid() == 0,
        distribution=distribution_of(_read("/etc/os-release")),
    )


def way_for(host: Host) -> Way:
    """Chooses the way; raises ClusterError with all that is missing when there is none."""
    if host.has_node_image:
        return "plain"
    if host.is_root and host.distribution in {"debian", "ubuntu"}:
        return "self-made"
    engine = (
        f"a container engine answers but cannot pull {PUBLIC_NODE_IMAGE}"
        if host.engine_answers
        else "no container engine answers (docker info)"
    )
    user = "root" if host.is_root else "an ordinary user"
    raise ClusterError(
        f"no way to make a cluster here:\n"
        f"  - {engine};\n"
        f"  - the self-made node needs root on Debian or Ubuntu, and this is {user} on {host.distribution}.\n"
        "Start Docker with access to a registry, or run this as root on Debian or Ubuntu."
    )


def distribution_of(os_release: str) -> str:
    """Returns the ID of an os-release text, such as "debian"."""
    fields = dict(line.split("=", 1) for line in os_release.splitlines() if "=" in line)
    return fields.get("ID", "an unknown distribution").strip('"')


def install_packages(progress: Progress) -> None:
    """Installs the Debian packages that are missing, without starting a service."""
    missing = [name for name in HOST_PACKAGES if not _is_installed(name)]
    if not missing:
        return
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    with progress.step(f"apt-get install {' '.join(missing)}"), _services_stay_off():
        progress.run("apt-update", [*_APT, "update"], environment=quiet)
        # --no-remove: another vendor's engine on this machine is not ours to replace.
        install = [*_APT, "install", "--yes", "--no-install-recommends", "--no-remove", *missing]
        progress.run("apt-install", install, environment=quiet)


@contextmanager
def _services_stay_off() -> Iterator[None]:
    """Keeps package scripts from starting docker and containerd on the host (policy-rc.d, Debian Policy 9.3.3)."""
    rule = Path("/usr/sbin/policy-rc.d")
    if rule.exists():
        yield
        return
    rule.write_text("#!/bin/sh\nexit 101\n")
    rule.chmod(0o755)
    try:
        yield
    finally:
        rule.unlink()


def _is_installed(package: str) -> bool:
    if package in _PROGRAMS and shutil.which(_PROGRAMS[package], path=f"{os.environ.get('PATH', '')}:/usr/sbin"):
        return True
    command = ["dpkg-query", "--show", "--showformat=${db:Status-Status}", package]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode == 0 and done.stdout == "installed"


def _has_node_image(progress: Progress) -> bool:
    if _succeeds(["docker", "image", "inspect", PUBLIC_NODE_IMAGE], ENGINE_SECONDS):
        return True
    with progress.step(f"pulling {PUBLIC_NODE_IMAGE}"):
        return _succeeds(["docker", "pull", PUBLIC_NODE_IMAGE], PULL_SECONDS)


def _succeeds(command: list[str], timeout_seconds: float) -> bool:
    if shutil.which(command[0]) is None:
        return False
    try:
        return subprocess.run(command, capture_output=True, timeout=timeout_seconds, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def _read(file: str) -> str:
    try:
        return Path(file).read_text()
    except OSError:
        return ""
