"""The command: builds what is missing, keeps the cache small, and says what there is."""

import contextlib
import fcntl
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.paths import Paths, paths_from
from cluster.progress import ClusterError, Progress
from imagebuild.code_layer import write_code_layer
from imagebuild.extending import write_extended
from imagebuild.recipe import NAMES, REGISTRY, Recipe, Way, code_files, image_name, recipe_for
from imagebuild.ways import builder_for, choose_way

KEPT = 3
"""Finished archives kept of each image, so that going back a commit or between clones builds nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A finished image."""

    name: str
    tag: str
    archive: Path


def main(arguments: Sequence[str]) -> int:
    """Build, then print what the option asks for. Progress goes to stderr where stdout carries an answer."""
    if arguments not in ([], ["--print"], ["--archives"]):
        print("usage: scripts/images [--print | --archives]", file=sys.stderr)
        return 2
    paths = paths_from()
    try:
        with contextlib.redirect_stdout(sys.stderr if arguments else sys.stdout), _locked(paths):
            built = build_all(paths, Progress(logs=paths.logs))
    except (ClusterError, subprocess.CalledProcessError) as problem:
        print(f"images: {problem}", file=sys.stderr)
        return 1
    names = {image.name: image_name(image.name, image.tag) for image in built}
    if arguments == ["--print"]:
        print(json.dumps(names))
    elif arguments == ["--archives"]:
        print("\n".join(str(image.archive) for image in built))
    else:
        for image in built:
            print(f"{names[image.name]}  {image.archive.stat().st_size / 1e6:.0f} MB  {image.archive}")
    return 0


def build_all(paths: Paths, progress: Progress) -> list[Built]:
    """Build whatever is not in the cache and record the result beside it."""
    folder = _folder(paths)
    recipes = [recipe_for(name) for name in NAMES]
    way = _known_way(recipes, folder) or choose_way(progress)
    missing = [recipe for recipe in recipes if not _dependencies(recipe, way, folder).is_file()]
    _build_dependencies(missing, way, folder, progress)
    built = [_finish(recipe, way, folder, progress) for recipe in recipes]
    _record(built, folder)
    _prune(folder, {image.archive for image in built} | {_dependencies(recipe, way, folder) for recipe in recipes})
    return built


def _known_way(recipes: Sequence[Recipe], folder: Path) -> Way | None:
    """Return the way whose dependencies are all in the cache: then nothing has to be asked of the machine."""
    ways: tuple[Way, ...] = ("pulled", "self-made")
    for way in ways:
        if all(_dependencies(recipe, way, folder).is_file() for recipe in recipes):
            return way
    return None


def _build_dependencies(missing: Sequence[Recipe], way: Way, folder: Path, progress: Progress) -> None:
    if not missing:
        return
    with builder_for(way, folder, progress) as builder:
        for recipe in missing:
            target = _dependencies(recipe, way, folder)
            scratch = target.with_suffix(".part")
            scratch.unlink(missing_ok=True)
            with progress.step(f"{recipe.name} image: packages ({way} base)"):
                builder.build(recipe, scratch)
            scratch.rename(target)


def _finish(recipe: Recipe, way: Way, folder: Path, progress: Progress) -> Built:
    """Put our code on top and name the result after its content."""
    tag = recipe.tag(way)
    archive = folder / f"{recipe.name}-{tag}.tar"
    if archive.is_file():
        archive.touch()
    else:
        with progress.step(f"{recipe.name} image: {tag}"):
            _write(recipe, tag, archive, _dependencies(recipe, way, folder))
    return Built(name=recipe.name, tag=tag, archive=archive)


def _write(recipe: Recipe, tag: str, archive: Path, below: Path) -> None:
    scratch, layer_tar = archive.with_suffix(".part"), archive.with_suffix(".layer")
    files = code_files(recipe.dockerfile.code, recipe.repository)
    layer = write_code_layer(layer_tar, files, recipe.repository) if files else None
    tags = [f"{REGISTRY}/{image_name(recipe.name, name)}" for name in (tag, "dev")]
    write_extended(scratch, below, layer, tags)
    layer_tar.unlink(missing_ok=True)
    scratch.rename(archive)


def _dependencies(recipe: Recipe, way: Way, folder: Path) -> Path:
    return folder / f"dependencies-{recipe.name}-{recipe.dependencies_key(way)}.tar"


def _record(built: Sequence[Built], folder: Path) -> None:
    names = {image.name: image_name(image.name, image.tag) for image in built}
    (folder / "images.json").write_text(json.dumps(names, indent=2) + "\n")
    (folder / "archives.txt").write_text("".join(f"{image.archive}\n" for image in built))


def _prune(folder: Path, used: set[Path]) -> None:
    """Remove the oldest archives beyond those kept of each image, never one in use."""
    for prefix in ["base", *NAMES, *(f"dependencies-{name}" for name in NAMES)]:
        old = sorted(folder.glob(f"{prefix}-*.tar"), key=lambda file: file.stat().st_mtime, reverse=True)[KEPT:]
        for file in old:
            if file not in used:
                file.unlink()


def _folder(paths: Paths) -> Path:
    folder = paths.cache / "images"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def _locked(paths: Paths) -> Iterator[None]:
    """Let one build at a time use the cache; a second one waits and then finds everything built."""
    with (_folder(paths) / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
