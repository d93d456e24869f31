"""Building where nothing can be pulled: buildah in a chroot, on a base made from Debian packages."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cluster.progress import ClusterError, Progress
from cluster.recipe import DEBIAN_SOURCES, DEBIAN_SUITE
from imagebuild.context import write_context
from imagebuild.dockerfile import DEPENDENCIES
from imagebuild.probing import succeeds
from imagebuild.recipe import BASE_PACKAGES, Recipe, base_key

REMOVAL_SECONDS = 300

_UNWANTED = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*")
_HOOK = "/usr/share/mmdebstrap/hooks/merged-usr"

Storage = tuple[str, ...]
"""The buildah command with the options of one storage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildahBuilder:
    """`buildah build`; isolation by chroot needs neither an engine nor a network of containers."""

    scratch: Path
    secrets: list[str]
    progress: Progress
    storage: Storage
    base: Path

    def build(self, recipe: Recipe, target: Path) -> None:
        """Build and write; see `Builder`."""
        base = self._import_base()
        context = write_context(recipe, self.scratch / recipe.name)
        tag = f"localhost/dependencies-{recipe.name}:build"
        options = [f"--file={recipe.file}", f"--target={DEPENDENCIES}", f"--tag={tag}", f"--build-arg=BASE={base}"]
        self._run(recipe.name, "build", "--format=docker", *options, *self.secrets, str(context))
        self._run(f"{recipe.name}-save", "push", "--quiet", tag, f"docker-archive:{target}:{tag}")

    def _import_base(self) -> str:
        tag = f"localhost/managed-agents-base:{base_key()}"
        if not succeeds([*self.storage, "inspect", "--type=image", tag]):
            container = "managed-agents-base"
            self._run("base", "from", "--name", container, "scratch")
            self._run("base", "add", "--quiet", container, str(self.base))
            self._run("base", "commit", "--quiet", "--rm", container, tag)
        return tag

    def _run(self, log: str, *words: str) -> None:
        self.progress.run(f"image-{log}", [*self.storage, *words], environment={"BUILDAH_ISOLATION": "chroot"})


@contextmanager
def empty_storage(scratch: Path) -> Iterator[Storage]:
    """Return an empty storage in `scratch`: overlay where the file system can, else plain copies."""
    for driver in ("overlay", "vfs"):
        folder = scratch / driver
        places = (f"--root={folder / 'root'}", f"--runroot={folder / 'run'}", f"--storage-driver={driver}")
        storage = ("buildah", *places)
        try:
            if succeeds([*storage, "from", "--name=probe", "scratch"]) and succeeds([*storage, "mount", "probe"]):
                yield storage
                return
        finally:
            # A mount left behind would keep the folder from being removed.
            succeeds([*storage, "rm", "--all"], REMOVAL_SECONDS)
            succeeds(["umount", "--recursive", "--lazy", str(folder / "root" / driver)])
    raise ClusterError("buildah finds no storage driver that works here (overlay, vfs)")


def base_tar(folder: Path, progress: Progress) -> Path:
    """Return the tar of the self-made base, making it when it is not there."""
    result = folder / f"base-{base_key()}.tar"
    if result.is_file():
        return result
    scratch = result.with_name(f"{result.name}.part.tar")
    # mmdebstrap copies these two from this machine; a container gets its own.
    nameless = "--customize-hook=rm -f $1/etc/hostname && : >$1/etc/resolv.conf"
    options = [nameless, f"--hook-dir={_HOOK}", f"--include={','.join(BASE_PACKAGES)}"]
    excludes = [f"--dpkgopt=path-exclude={pattern}" for pattern in _UNWANTED]
    command = ["mmdebstrap", "--variant=minbase", *options, *excludes, DEBIAN_SUITE, str(scratch), *DEBIAN_SOURCES]
    with progress.step("Debian root with Python, the base of our images"):
        progress.run("image-root", command)
    scratch.rename(result)
    return result
