"""Debian root file systems made with mmdebstrap, as tars in the cache."""

from collections.abc import Sequence
from pathlib import Path

from cluster.paths import Paths
from cluster.progress import Progress
from cluster.recipe import DEBIAN_SOURCES, DEBIAN_SUITE, hash_of

_UNWANTED = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*")


def build_rootfs(name: str, packages: Sequence[str], paths: Paths, progress: Progress) -> Path:
    """Returns the tar of a minimal Debian with ``packages``, building it when the cache lacks it."""
    result = paths.builds / f"root-{name}-{hash_of([*packages, *DEBIAN_SOURCES])}.tar"
    if result.is_file():
        return result
    scratch = result.with_name(f"{result.name}.part.tar")
    excludes = [f"--dpkgopt=path-exclude={pattern}" for pattern in _UNWANTED]
    command = ["mmdebstrap", "--variant=minbase", f"--include={','.join(packages)}", *excludes]
    with progress.step(f"Debian root for the {name} ({len(packages)} packages)"):
        progress.run(f"root-{name}", [*command, DEBIAN_SUITE, str(scratch), *DEBIAN_SOURCES])
    scratch.rename(result)
    return result
