"""Finds and removes what a dead engine left: processes, cgroups, mounts, the network namespace, sockets.

Only things that carry our own names are touched: the cgroup, the namespace and the folders of `Paths`.
"""

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from cluster.paths import Paths

ENGINE_PROGRAMS = frozenset({"dockerd", "containerd", "containerd-shim", "containerd-shim-runc-v2", "docker-proxy"})
END_SECONDS = 20
POLL_SECONDS = 0.1
CGROUPS = Path("/sys/fs/cgroup")


def program_runs(pid_file: Path, marker: str) -> bool:
    """Says whether the process in a pid file lives and has ``marker`` on its command line; pids are reused."""
    try:
        pid = int(pid_file.read_text())
    except (OSError, ValueError):
        return False
    return marker in command_line(pid)


def command_line(pid: int) -> str:
    """Returns the words of a process's command line, or an empty text when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def clear_remains(paths: Paths) -> None:
    """Ends every process of the engine and its containers, then removes cgroups, mounts, namespace and sockets."""
    _end_processes(paths)
    for group in _own_cgroups(paths):
        _remove_cgroup(group)
    for mount in mounts_below(Path("/proc/self/mountinfo").read_text(), (paths.engine_data, paths.run)):
        subprocess.run(["umount", "-l", mount], capture_output=True, check=False)
    _remove_namespace(paths)
    shutil.rmtree(paths.run, ignore_errors=True)


def _end_processes(paths: Paths) -> None:
    deadline = time.monotonic() + END_SECONDS
    pause = threading.Event()
    while pids := {*_engine_pids(paths), *_contained_pids(paths)}:
        if time.monotonic() > deadline:
            return
        for pid in pids:
            _kill(pid)
        pause.wait(POLL_SECONDS)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _engine_pids(paths: Paths) -> Iterator[int]:
    """Yields engine programs that live in our namespace or were started with our folders."""
    namespace = _inode(paths.netns)
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or _program_of(entry) not in ENGINE_PROGRAMS:
            continue
        ours = str(paths.run) + "/" in command_line(int(entry.name))
        if ours or (namespace is not None and _inode(entry / "ns/net") == namespace):
            yield int(entry.name)


def _program_of(process: Path) -> str:
    try:
        return (process / "exe").readlink().name.removesuffix(" (deleted)")
    except OSError:
        return ""


def _inode(file: Path) -> int | None:
    try:
        return file.stat().st_ino
    except OSError:
        return None


def _own_cgroups(paths: Paths) -> list[Path]:
    """Our cgroup in the unified hierarchy, or in each hierarchy of version 1."""
    return [group for group in (CGROUPS / paths.engine, *CGROUPS.glob(f"*/{paths.engine}")) if group.is_dir()]


def _contained_pids(paths: Paths) -> Iterator[int]:
    for group in _own_cgroups(paths):
        for members in group.rglob("cgroup.procs"):
            try:
                text = members.read_text()
            except OSError:
                continue
            yield from (int(pid) for pid in text.split() if pid != "0")


def _remove_cgroup(group: Path) -> None:
    for folder, _, _ in os.walk(group, topdown=False):
        try:
            Path(folder).rmdir()
        except OSError:
            continue


def mounts_below(mountinfo: str, folders: tuple[Path, ...]) -> list[str]:
    """Returns the mount points at or below the folders, innermost first."""
    points = [line.split(" ")[4] for line in mountinfo.splitlines()]
    prefixes = tuple(str(folder) for folder in folders)
    ours = [point for point in points if any(point == prefix or point.startswith(f"{prefix}/") for prefix in prefixes)]
    return sorted(ours, key=len, reverse=True)


def _remove_namespace(paths: Paths) -> None:
    if not paths.netns.exists():
        return
    subprocess.run(["umount", "-l", paths.netns], capture_output=True, check=False)
    paths.netns.unlink(missing_ok=True)
