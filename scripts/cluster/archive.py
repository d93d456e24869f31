"""Writes container images as docker-archive files, without an engine.

A layer is an uncompressed tar; an image is an ordered list of layers and a configuration. The format is the one that
``docker save`` writes and ``docker load``, ``ctr images import`` and ``kind load image-archive`` read.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_CHUNK_BYTES = 1 << 20
_EPOCH = "1970-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer: an uncompressed tar and the SHA-256 of its bytes, in hexadecimal digits."""

    tar: Path
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A tagged image; ``config`` holds the OCI fields Env, Entrypoint, Cmd, StopSignal and so on."""

    name: str
    layers: Sequence[Layer]
    config: Mapping[str, Any] = field(default_factory=dict)


def layer_of(tar: Path) -> Layer:
    """Returns the layer for an existing tar."""
    digest = hashlib.sha256()
    with tar.open("rb") as source:
        while chunk := source.read(_CHUNK_BYTES):
            digest.update(chunk)
    return Layer(tar=tar, digest=digest.hexdigest())


def layer_from_files(tar: Path, files: Mapping[str, Path]) -> Layer:
    """Packs ``files`` (path in the image, without a leading slash, to file on disk) as root's, mode 0755."""
    with tarfile.open(tar, "w", format=tarfile.GNU_FORMAT) as target:
        for folder in sorted({str(parent) for name in files for parent in Path(name).parents} - {"."}):
            target.addfile(_entry(folder, kind=tarfile.DIRTYPE))
        for name, source in sorted(files.items()):
            with source.open("rb") as content:
                target.addfile(_entry(name, size=source.stat().st_size), content)
    return layer_of(tar)


def write_archive(target: Path, images: Sequence[Image], architecture: str) -> None:
    """Writes one docker-archive with all the images, each layer once."""
    manifest = []
    with tarfile.open(target, "w", format=tarfile.GNU_FORMAT) as archive:
        for layer in {layer.digest: layer for image in images for layer in image.layers}.values():
            with layer.tar.open("rb") as content:
                archive.addfile(_entry(f"{layer.digest}.tar", size=layer.tar.stat().st_size), content)
        for image in images:
            config = json.dumps(image_config(image, architecture), sort_keys=True).encode()
            name = f"{hashlib.sha256(config).hexdigest()}.json"
            _add_bytes(archive, name, config)
            layers = [f"{layer.digest}.tar" for layer in image.layers]
            manifest.append({"Config": name, "RepoTags": [image.name], "Layers": layers})
        _add_bytes(archive, "manifest.json", json.dumps(manifest).encode())


def image_config(image: Image, architecture: str) -> dict[str, Any]:
    """Returns the OCI image configuration; the same image gives the same bytes, so digests are stable."""
    return {
        "created": _EPOCH,
        "architecture": architecture,
        "os": "linux",
        "config": dict(image.config),
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer.digest}" for layer in image.layers]},
        "history": [{"created": _EPOCH} for _ in image.layers],
    }


def _entry(name: str, *, size: int = 0, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.type, entry.mode = size, kind, 0o755
    return entry


def _add_bytes(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    archive.addfile(_entry(name, size=len(content)), io.BytesIO(content))


def tags_in(archive: Path) -> dict[str, str]:
    """Returns image name -> configuration digest for a docker-archive; both together identify its content."""
    with tarfile.open(archive) as source:
        manifest = source.extractfile("manifest.json")
        if manifest is None:
            raise ValueError(f"{archive}: manifest.json is not a file")
        entries = json.load(manifest)
    return {tag: Path(entry["Config"]).stem for entry in entries for tag in entry["RepoTags"] or ()}
