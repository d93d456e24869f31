"""Which images there are, and the keys under which their parts are kept."""

import hashlib
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cluster.recipe import DEBIAN_SOURCES, hash_of
from imagebuild.dockerfile import Copy, Dockerfile, parse_dockerfile

REPOSITORY = Path(__file__).resolve().parents[2]
NAMES = ("control-plane", "harness", "sandbox")
TAG_PREFIX = "managed-agents"
REGISTRY = "docker.io"
"""How the kubelet completes a name without registry; nothing is ever pulled from there."""

PUBLIC_BASE = "docker.io/library/python:3.11-slim-bookworm"
"""Base of all three images where an engine can pull it; the default of ARG BASE in the Dockerfiles."""

BASE_PACKAGES = ("ca-certificates", "python3", "python3-venv", "usr-is-merged")
"""Debian packages of the self-made base. `usr-is-merged` stands in for `usrmerge`, which would bring 50 MB of Perl."""

TAG_DIGITS = 12

Way = Literal["pulled", "self-made"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One image and everything of the repository that decides what is in it."""

    name: str
    dockerfile: Dockerfile
    repository: Path = REPOSITORY

    @property
    def file(self) -> Path:
        """The Dockerfile."""
        return self.repository / "images" / self.name / "Dockerfile"

    def dependencies_key(self, way: Way) -> str:
        """Hash of what decides everything but our code."""
        base = [PUBLIC_BASE] if way == "pulled" else [base_key()]
        reads = [self.repository / path for path in self.dockerfile.reads]
        return hash_of([self.dockerfile.slow_part, platform.machine(), way, *base], reads)

    def code_key(self) -> str:
        """Hash of our code in the image: targets and bytes."""
        digest = hashlib.sha256()
        for target, file in sorted(code_files(self.dockerfile.code, self.repository).items()):
            digest.update(target.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
        return digest.hexdigest()[:16]

    def tag(self, way: Way) -> str:
        """Tag of the finished image: it changes exactly when its content does, so that Deployments roll then."""
        return hash_of([self.dependencies_key(way), self.code_key()])[:TAG_DIGITS]


def recipe_for(name: str, repository: Path = REPOSITORY) -> Recipe:
    """Read an image's Dockerfile."""
    text = (repository / "images" / name / "Dockerfile").read_text()
    return Recipe(name=name, dockerfile=parse_dockerfile(text), repository=repository)


def base_key() -> str:
    """Hash of what decides the self-made base; the number grows when the way it is made changes."""
    return hash_of(["2", platform.machine(), *BASE_PACKAGES, *DEBIAN_SOURCES])


def code_files(copies: Iterable[Copy], repository: Path) -> dict[str, Path]:
    """Return path in the image, without a leading slash, to file on disk; compiled and hidden files stay out."""
    found: dict[str, Path] = {}
    for copy in copies:
        source = repository / copy.source
        for file in sorted(source.rglob("*")):
            parts = file.relative_to(source).parts
            if file.is_file() and not any(_is_by_product(part) for part in parts):
                found[str(copy.target.joinpath(*parts)).lstrip("/")] = file
    return found


def _is_by_product(part: str) -> bool:
    return part.startswith(".") or part == "__pycache__" or part.endswith(".pyc")


def image_name(name: str, tag: str) -> str:
    """Name of an image as manifests write it."""
    return f"{TAG_PREFIX}/{name}:{tag}"
