"""Loads docker-archive files into the node, leaving out what it already has."""

import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

from cluster.access import Access
from cluster.archive import tags_in
from cluster.paths import CLUSTER_NAME
from cluster.progress import ClusterError, Progress

RECORD = "/kind/loaded.json"
"""File in the node: image name -> configuration digest. It goes with the node, so it can never be out of date."""


def load_archives(archives: list[Path], access: Access, progress: Progress) -> None:
    """Loads each archive unless the node has all its images with the same content.

    Raises ClusterError when an archive cannot be read or the node refuses it.
    """
    present = json.loads(access.output(access.in_node(["cat", RECORD])) or "{}")
    for archive in archives:
        wanted = _tags(archive)
        if is_loaded(wanted, present):
            progress.say(f"{archive.name}: already in the cluster")
            continue
        with progress.step(f"loading {', '.join(wanted)}"):
            command = access.command(["kind", "load", "image-archive", archive, "--name", CLUSTER_NAME])
            progress.run("load", command, environment=access.environment())
        present = {**present, **wanted}
        _record(present, access)


def is_loaded(wanted: Mapping[str, str], present: Mapping[str, str]) -> bool:
    """Says whether every wanted image is present with the same digest."""
    return bool(wanted) and all(present.get(name) == digest for name, digest in wanted.items())


def _tags(archive: Path) -> dict[str, str]:
    try:
        return tags_in(archive)
    except (OSError, KeyError, ValueError, tarfile.TarError) as problem:
        raise ClusterError(f"{archive}: not a docker-archive ({problem})") from problem


def _record(present: Mapping[str, str], access: Access) -> None:
    script = f'printf %s "$1" > {RECORD}.new && mv {RECORD}.new {RECORD}'
    if not access.succeeds(access.in_node(["sh", "-c", script, "sh", json.dumps(present)])):
        raise ClusterError(f"the node does not take {RECORD}")
