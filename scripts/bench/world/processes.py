"""CPU seconds and memory of our Pods' processes, read from this machine's /proc.

A node in a container shares this machine's kernel, so its processes are here, and their cgroups name the Pods. Where
the node is another machine nothing is found, and figures made of it are left out.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_POD = re.compile(r"pod([0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12})")
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Of the living processes of one Pod. `bytes` is the proportional set size: shared pages are counted once."""

    cpu_seconds: float = 0.0
    bytes: int = 0
    processes: int = 0

    def plus(self, other: "Usage") -> "Usage":
        """Add two."""
        return Usage(
            cpu_seconds=self.cpu_seconds + other.cpu_seconds,
            bytes=self.bytes + other.bytes,
            processes=self.processes + other.processes,
        )


def pod_of(cgroup: str) -> str | None:
    """Return the UID of the Pod that a process's cgroup file names, whatever the cgroup driver."""
    found = _POD.search(cgroup)
    return found[1].replace("_", "-") if found else None


def ticks_of(stat: str) -> int:
    """Return user and system ticks of a process's stat file; children that were waited for count too."""
    fields = stat.rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15])


def usages(root: Path = Path("/proc")) -> Mapping[str, Usage]:
    """Return what the processes of each Pod use, by the Pod's UID."""
    found: dict[str, Usage] = {}
    for pod, process in _processes(root):
        try:
            one = Usage(cpu_seconds=_cpu(process), bytes=_bytes(process), processes=1)
        except (OSError, ValueError, IndexError):
            continue  # it has ended meanwhile
        found[pod] = found.get(pod, Usage()).plus(one)
    return found


def pids_of(pod: str, root: Path = Path("/proc")) -> list[int]:
    """Return the processes of one Pod as this machine numbers them."""
    return [int(process.name) for uid, process in _processes(root) if uid == pod]


def named(process: str) -> Usage:
    """Return what all processes of that name use, such as `kube-apiserver`, wherever they run."""
    total = Usage()
    for path in Path("/proc").iterdir():
        if not path.name.isdigit():
            continue
        try:
            if (path / "comm").read_text().strip() == process[:15]:
                total = total.plus(Usage(cpu_seconds=_cpu(path), bytes=_bytes(path), processes=1))
        except (OSError, ValueError, IndexError):
            continue
    return total


def _processes(root: Path) -> Iterator[tuple[str, Path]]:
    for path in root.iterdir():
        if not path.name.isdigit():
            continue
        try:
            pod = pod_of((path / "cgroup").read_text())
        except OSError:
            continue
        if pod is not None:
            yield pod, path


def _cpu(process: Path) -> float:
    return ticks_of((process / "stat").read_text()) / _TICKS


def _bytes(process: Path) -> int:
    lines = (process / "smaps_rollup").read_text().splitlines()
    return 1024 * next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
