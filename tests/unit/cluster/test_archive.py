"""Images written without an engine."""

import hashlib
import json
import tarfile
from pathlib import Path

from cluster.archive import Image, image_config, layer_from_files, tags_in, write_archive
from cluster.loading import is_loaded


def program(folder: Path) -> Path:
    file = folder / "tool"
    file.write_text("#!/bin/sh\n")
    return file


def test_layer_holds_files_and_their_folders_as_root(tmp_path: Path) -> None:
    layer = layer_from_files(tmp_path / "layer.tar", {"usr/bin/tool": program(tmp_path)})
    assert layer.digest == hashlib.sha256(layer.tar.read_bytes()).hexdigest()
    with tarfile.open(layer.tar) as content:
        entries = [(entry.name, entry.isdir(), entry.mode, entry.uid) for entry in content]
    assert entries == [("usr", True, 0o755, 0), ("usr/bin", True, 0o755, 0), ("usr/bin/tool", False, 0o755, 0)]


def test_archive_holds_shared_layers_once_and_names_every_image(tmp_path: Path) -> None:
    layer = layer_from_files(tmp_path / "layer.tar", {"tool": program(tmp_path)})
    images = [Image(name=f"example/{name}:1", layers=[layer], config={"Cmd": [name]}) for name in ("a", "b")]
    write_archive(tmp_path / "images.tar", images, "amd64")
    with tarfile.open(tmp_path / "images.tar") as archive:
        names = archive.getnames()
        config = archive.extractfile(f"{tags_in(tmp_path / 'images.tar')['example/a:1']}.json")
        assert config is not None
        assert json.load(config) == image_config(images[0], "amd64")
    assert names.count(f"{layer.digest}.tar") == 1
    assert set(tags_in(tmp_path / "images.tar")) == {"example/a:1", "example/b:1"}


def test_same_content_gives_the_same_digest(tmp_path: Path) -> None:
    digests = []
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        layer = layer_from_files(folder / "layer.tar", {"tool": program(folder)})
        write_archive(folder / "image.tar", [Image(name="example/a:1", layers=[layer])], "amd64")
        digests.append(tags_in(folder / "image.tar"))
    assert digests[0] == digests[1]


def test_archive_counts_as_loaded_only_with_every_digest_equal() -> None:
    wanted = {"a": "1", "b": "2"}
    assert is_loaded(wanted, {"a": "1", "b": "2", "c": "3"})
    assert not is_loaded(wanted, {"a": "1"})
    assert not is_loaded(wanted, {"a": "1", "b": "other"})
    assert not is_loaded({}, {})
