"""The commands: up, load, down, status."""

import argparse
import fcntl
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cluster.access import Access, recorded_access
from cluster.kindcluster import cluster_up
from cluster.loading import load_archives
from cluster.paths import Paths, paths_from
from cluster.progress import ClusterError, Progress
from cluster.removal import cluster_down


def main(arguments: Sequence[str]) -> int:
    """Runs one command; returns the process's exit status."""
    options = _parser().parse_args(arguments)
    paths = paths_from()
    progress = Progress(logs=paths.logs)
    try:
        with _only_one(paths, progress):
            _run(options, paths, progress)
    except ClusterError as problem:
        sys.stderr.write(f"cluster {options.command}: {problem}\n")
        return 1
    return 0


def _run(options: argparse.Namespace, paths: Paths, progress: Progress) -> None:
    match options.command:
        case "up":
            cluster_up(paths, progress)
        case "down":
            cluster_down(paths, progress, and_cache=options.cache)
        case "load":
            _load(options.archives, paths, progress)
        case "status":
            _status(paths, progress)


def _load(archives: list[Path], paths: Paths, progress: Progress) -> None:
    load_archives(archives, _access(paths), progress)


def _access(paths: Paths) -> Access:
    access = recorded_access(paths)
    if access is None:
        raise ClusterError("there is no cluster; bring it up with `make cluster`")
    return access


def _status(paths: Paths, progress: Progress) -> None:
    access = recorded_access(paths)
    if access is None or not access.answers():
        raise ClusterError("the cluster is not up; bring it up with `make cluster`")
    progress.say(f"the cluster is up ({access.way} node)")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 scripts/cluster", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="bring the cluster up, building what the cache lacks; quick when it runs")
    commands.add_parser("status", help="say whether the cluster answers")
    load = commands.add_parser("load", help="load docker-archive files, leaving out those already loaded")
    load.add_argument("archives", nargs="+", type=Path, metavar="ARCHIVE")
    down = commands.add_parser("down", help="remove the cluster, its engine and their state")
    down.add_argument("--cache", action="store_true", help="remove the build cache too")
    return parser


@contextmanager
def _only_one(paths: Paths, progress: Progress) -> Iterator[None]:
    """Lets one command at a time work on the cache and the cluster; the lock goes with the process."""
    paths.cache.mkdir(parents=True, exist_ok=True)
    with paths.lock_file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.say("another cluster command is at work; waiting for it ...")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
