"""The two ways to build a stage `dependencies`, and which of them this machine can go."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from cluster.host import distribution_of, install_packages
from cluster.progress import ClusterError, Progress
from imagebuild.buildah import BuildahBuilder, base_tar, empty_storage
from imagebuild.context import write_context, write_secrets
from imagebuild.dockerfile import DEPENDENCIES
from imagebuild.probing import succeeds
from imagebuild.recipe import PUBLIC_BASE, Recipe, Way

PULL_SECONDS = 900

_ENGINE_SETTINGS = {"DOCKER_BUILDKIT": "1", "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
"""Secrets need BuildKit; an attestation would make an index of the image, and its archive hold more than one."""


class Builder(Protocol):
    """Builds one image's stage `dependencies`."""

    def build(self, recipe: Recipe, target: Path) -> None:
        """Write it as a docker-archive. Raises ClusterError when it fails."""
        ...


def choose_way(progress: Progress) -> Way:
    """Ask what this machine can do. Raises ClusterError with what is missing when that is nothing."""
    if succeeds(["docker", "info"]) and _has_public_base(progress):
        return "pulled"
    release = Path("/etc/os-release")
    distribution = distribution_of(release.read_text() if release.exists() else "")
    is_root = os.geteuid() == 0
    if is_root and distribution in {"debian", "ubuntu"}:
        return "self-made"
    raise ClusterError(
        f"no way to build images here: no container engine answers that has or can pull {PUBLIC_BASE}; without one, "
        f"root on Debian or Ubuntu is needed, and this is {'root' if is_root else 'an ordinary user'} on {distribution}"
    )


@contextmanager
def builder_for(way: Way, folder: Path, progress: Progress) -> Iterator[Builder]:
    """Return the builder of a way. What it makes in `folder` is gone at the end, but for the base."""
    with TemporaryDirectory(dir=folder) as name:
        scratch = Path(name)
        secrets = write_secrets(scratch, os.environ)
        if way == "pulled":
            yield DockerBuilder(scratch=scratch, secrets=secrets, progress=progress)
            return
        install_packages(progress)
        base = base_tar(folder, progress)
        with empty_storage(scratch) as storage:
            yield BuildahBuilder(scratch=scratch, secrets=secrets, progress=progress, storage=storage, base=base)


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerBuilder:
    """`docker build`, with the public base."""

    scratch: Path
    secrets: list[str]
    progress: Progress

    def build(self, recipe: Recipe, target: Path) -> None:
        """Build and save; see `Builder`."""
        context = write_context(recipe, self.scratch / recipe.name)
        tag = f"managed-agents-dependencies/{recipe.name}:build"
        options = [f"--file={recipe.file}", f"--target={DEPENDENCIES}", f"--tag={tag}", *self.secrets]
        build = ["docker", "build", *options, str(context)]
        self.progress.run(f"image-{recipe.name}", build, environment=_ENGINE_SETTINGS)
        self.progress.run(f"image-{recipe.name}-save", ["docker", "save", f"--output={target}", tag])


def _has_public_base(progress: Progress) -> bool:
    if succeeds(["docker", "image", "inspect", PUBLIC_BASE]):
        return True
    with progress.step(f"pulling {PUBLIC_BASE}"):
        return succeeds(["docker", "pull", PUBLIC_BASE], PULL_SECONDS)
