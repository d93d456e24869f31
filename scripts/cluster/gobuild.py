"""Builds the Go programs of the node into the cache, each part once per recipe hash."""

import os
import shutil
import subprocess
from pathlib import Path

from cluster.paths import Paths
from cluster.progress import ClusterError, Progress
from cluster.recipe import KUBERNETES, GoPart

BUILD_PROCESSES = 2
"""Compilers at once: one takes up to 1 GiB, and the machine is shared."""


def build_part(part: GoPart, paths: Paths, progress: Progress) -> Path:
    """Returns the folder with the part's programs, building it when the cache lacks it."""
    result = paths.builds / f"go-{part.name}-{part.key}"
    if not result.is_dir():
        require_go()
        with progress.step(f"go build of {part.name} ({', '.join(part.programs.values())})"):
            _build(part, result, progress)
    link_programs(result, part, paths)
    return result


def _build(part: GoPart, result: Path, progress: Progress) -> None:
    scratch = result.with_suffix(".part")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    command = ["go", "install", "-p", str(BUILD_PROCESSES), "-trimpath", f"-ldflags={part.flags}", part.target]
    settings = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false", "GOWORK": "off"}
    environment = {"GOBIN": str(scratch), **settings}
    progress.run(f"go-{part.name}", command, environment=environment, folder=part.folder)
    for built, wanted in part.programs.items():
        (scratch / built).rename(scratch / wanted)
    scratch.rename(result)


def link_programs(result: Path, part: GoPart, paths: Paths) -> None:
    """Points ``bin/NAME`` at each program of this build."""
    paths.bin.mkdir(parents=True, exist_ok=True)
    for program in part.programs.values():
        link = paths.bin / program
        wanted = result / program
        if link.is_symlink() and link.readlink() == wanted:
            continue
        fresh = paths.bin / f".{program}.{os.getpid()}"
        fresh.symlink_to(wanted)
        fresh.rename(link)


def build_pause(version: str, paths: Paths, progress: Progress) -> Path:
    """Returns the pause program, compiled from the source in the Kubernetes module."""
    result = paths.builds / f"pause-{version}-{KUBERNETES.key}"
    if not result.is_file():
        source = module_folder(KUBERNETES, "k8s.io/kubernetes") / "build/pause/linux/pause.c"
        scratch = result.with_name(result.name + ".part")
        command = ["cc", "-Os", "-Wall", "-static", f"-DVERSION=v{version}", "-o", str(scratch), str(source)]
        progress.run("pause", command)
        scratch.rename(result)
    return result


def module_folder(part: GoPart, module: str) -> Path:
    """Returns where the module's source lies in Go's module cache, downloading it when it is not there."""
    require_go()
    for command in (["go", "mod", "download", module], ["go", "list", "-m", "-f", "{{.Dir}}", module]):
        done = subprocess.run(command, cwd=part.folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ClusterError(f"{' '.join(command)} failed in {part.folder}:\n{done.stderr.strip()}")
    return Path(done.stdout.strip())


def require_go() -> None:
    """Raises ClusterError when the Go tool is absent."""
    if shutil.which("go") is None:
        raise ClusterError("building the node needs Go 1.25 or newer on PATH (https://go.dev/dl/); found no `go`")
