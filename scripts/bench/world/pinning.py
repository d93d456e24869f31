"""Cores apart: load generator and simulated model on the first, the cluster and what runs in it on the others.

What a container engine starts later inherits the cores of the engine, so Pods that come during the run keep to them.
"""

import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from cluster.paths import NODE_NAME

PROC = Path("/proc")
MODEL = b"managed_agents.simulator"


def parents(root: Path = PROC) -> Mapping[int, int]:
    """Return each process's parent."""
    found: dict[int, int] = {}
    for path in root.iterdir():
        if path.name.isdigit():
            with suppress(OSError, IndexError, ValueError):
                found[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
    return found


def below(top: int, parent_of: Mapping[int, int]) -> set[int]:
    """Return a process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for process, parent in parent_of.items():
        children.setdefault(parent, []).append(process)
    found, left = set[int](), [top]
    while left:
        process = left.pop()
        if process not in found:
            found.add(process)
            left += children.get(process, ())
    return found


@contextmanager
def pinned() -> Iterator[None]:
    """Part the cores until the block ends. Raises: RuntimeError where that cannot be."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise RuntimeError("cores cannot be parted where there is one")
    first, others = set(cores[:1]), set(cores[1:])
    node = _node_process()
    _move([os.getpid()], first)
    _move_cluster(node, first, others)
    try:
        yield
    finally:
        _move([os.getpid()], set(cores))
        _move_cluster(node, set(cores), set(cores))


def _node_process() -> int:
    command = ["docker", "inspect", "--format", "{{.State.Pid}}", NODE_NAME]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0 or not (PROC / done.stdout.strip()).exists():
        raise RuntimeError(f"the processes of {NODE_NAME} are not this machine's: {done.stderr.strip()}")
    return int(done.stdout)


def _move_cluster(node: int, model: set[int], rest: set[int]) -> None:
    processes = below(node, parents())
    models = {process for process in processes if _is_model(process)}
    _move(processes - models, rest)
    _move(models, model)


def _is_model(process: int) -> bool:
    try:
        return MODEL in (PROC / str(process) / "cmdline").read_bytes().replace(b"\0", b" ")
    except OSError:
        return False


def _move(processes: Iterable[int], cores: set[int]) -> None:
    """Move all threads of processes; one that has ended meanwhile needs none."""
    for process in processes:
        with suppress(OSError):
            for thread in (PROC / str(process) / "task").iterdir():
                with suppress(OSError):
                    os.sched_setaffinity(int(thread.name), cores)
