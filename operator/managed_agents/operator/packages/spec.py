"""What of an Environment's packages is to be installed, under which hash, and whether that has been done. Pure."""

import shlex
from typing import Any

from managed_agents.contracts.packages import PREFIX, digest_of, packages_of
from managed_agents.kube.resources import Manifest
from managed_agents.operator.settings import SessionSettings

STATUS_DIGEST = "packagesDigest"
"""Key of an Environment's status: the hash of the packages that its sandboxes can have."""


def environment_packages(environment: Manifest) -> dict[str, tuple[str, ...]]:
    """Return the packages of an Environment, by manager."""
    return packages_of(environment["spec"].get("config") or {})


def image_of(environment: Manifest, settings: SessionSettings) -> str:
    """Return the image of an Environment's sandboxes."""
    return str((environment["spec"].get("sandbox") or {}).get("image") or settings.sandbox_image)


def wanted_digest(environment: Manifest, settings: SessionSettings) -> str | None:
    """Return the hash of what is to be installed; None for an Environment without packages."""
    return digest_of(environment_packages(environment), image_of(environment, settings))


def is_installed(environment: Manifest, settings: SessionSettings) -> bool:
    """Tell whether a sandbox of this Environment can have all its packages now."""
    wanted = wanted_digest(environment, settings)
    return wanted is None or (environment.get("status") or {}).get(STATUS_DIGEST) == wanted


def tools_variables(environment: Manifest) -> dict[str, str]:
    """Return the variables by which tools find what is installed.

    The image's own PATH is not known here, so the runner puts `MANAGED_AGENTS_PATH` before it.
    """
    packages = environment_packages(environment)
    found: dict[str, str] = {}
    paths = [f"{PREFIX}/{manager}/bin" for manager in packages if manager != "apt"]
    if "apt" in packages:
        root = f"{PREFIX}/apt"
        paths += [f"{root}/{folder}" for folder in ("usr/local/bin", "usr/bin", "usr/games", "bin", "usr/sbin", "sbin")]
        libraries = [f"{root}/{folder}" for folder in _library_folders()]
        found["LD_LIBRARY_PATH"] = ":".join(libraries)
    if paths:
        found["MANAGED_AGENTS_PATH"] = ":".join(paths)
    if "pip" in packages:
        found["PYTHONPATH"] = f"{PREFIX}/pip"
    if "npm" in packages:
        found["NODE_PATH"] = f"{PREFIX}/npm/lib/node_modules"
    if "gem" in packages:
        found["GEM_PATH"] = f"{PREFIX}/gem"
    return found


def _library_folders() -> list[str]:
    triplets = ("x86_64-linux-gnu", "aarch64-linux-gnu")
    return [f"{folder}/{triplet}" for folder in ("usr/lib", "lib") for triplet in triplets] + ["usr/lib", "lib"]


def summary_of(packages: dict[str, tuple[str, ...]]) -> str:
    """Return a short text of what is installed, for a condition."""
    return ", ".join(f"{manager}: {shlex.join(listed)}" for manager, listed in packages.items())[:500]


def config_of(environment: Manifest) -> dict[str, Any]:
    """Return the Environment's `config`, empty where it has none."""
    return environment["spec"].get("config") or {}
