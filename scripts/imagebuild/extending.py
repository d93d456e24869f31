"""Writes a docker-archive that is another one plus a layer, under tags of its own, without an engine."""

import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cluster.archive import Layer

_EPOCH = "1970-01-01T00:00:00Z"


def write_extended(target: Path, below: Path, layer: Layer | None, tags: Sequence[str]) -> None:
    """Write `target`: the one image of the archive `below`, its configuration kept, with `layer` on top.

    `layer` may be None, for other tags only. Raises ValueError when `below` holds not exactly one image.
    """
    with tarfile.open(below) as source, tarfile.open(target, "w", format=tarfile.GNU_FORMAT) as archive:
        manifest = json.loads(_member(source, "manifest.json"))
        if len(manifest) != 1:
            raise ValueError(f"{below}: holds {len(manifest)} images")
        config = json.loads(_member(source, manifest[0]["Config"]))
        names = [_copy_layer(source, archive, name) for name in manifest[0]["Layers"]]
        if layer is not None:
            names.append(_add_layer(archive, layer))
        content = json.dumps(extended_config(config, layer), sort_keys=True).encode()
        config_name = f"{hashlib.sha256(content).hexdigest()}.json"
        _add(archive, config_name, content)
        entry = {"Config": config_name, "RepoTags": list(tags), "Layers": names}
        _add(archive, "manifest.json", json.dumps([entry]).encode())


def extended_config(config: dict[str, Any], layer: Layer | None) -> dict[str, Any]:
    """Return an image configuration with one layer more, and without the moment it was made."""
    if layer is None:
        return {**config, "created": _EPOCH}
    rootfs = config["rootfs"]
    history = [*config.get("history", []), {"created": _EPOCH, "created_by": "scripts/images: our code"}]
    diff_ids = [*rootfs["diff_ids"], f"sha256:{layer.digest}"]
    return {**config, "created": _EPOCH, "rootfs": {**rootfs, "diff_ids": diff_ids}, "history": history}


def _copy_layer(source: tarfile.TarFile, archive: tarfile.TarFile, name: str) -> str:
    """Copy a layer under a name that other archives give it too."""
    content = source.extractfile(name)  # follows the links that some engines write between equal layers
    if content is None:
        raise ValueError(f"{name}: not a file in the archive")
    flat = name.replace("blobs/sha256/", "").replace("/", "-")
    entry = tarfile.TarInfo(flat if flat.endswith(".tar") else f"{flat}.tar")
    entry.size, entry.mode = content.seek(0, io.SEEK_END), 0o644
    content.seek(0)
    archive.addfile(entry, content)
    return entry.name


def _add_layer(archive: tarfile.TarFile, layer: Layer) -> str:
    entry = tarfile.TarInfo(f"{layer.digest}.tar")
    entry.size, entry.mode = layer.tar.stat().st_size, 0o644
    with layer.tar.open("rb") as content:
        archive.addfile(entry, content)
    return entry.name


def _member(source: tarfile.TarFile, name: str) -> bytes:
    content = source.extractfile(name)
    if content is None:
        raise ValueError(f"{name}: not a file in the archive")
    return content.read()


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), 0o644
    archive.addfile(entry, io.BytesIO(content))
