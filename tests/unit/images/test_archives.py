"""The layer that holds our code, and the archive it is put on."""

import json
import marshal
import sys
import tarfile
from pathlib import Path

import pytest

from cluster.archive import Image, layer_from_files, tags_in, write_archive
from imagebuild.code_layer import IMAGE_PYTHON, write_code_layer
from imagebuild.extending import extended_config, write_extended

NAME = "opt/venv/lib/python3.11/site-packages/managed_agents/proxy/a.py"
TAGS = ["docker.io/managed-agents/harness:0123", "docker.io/managed-agents/harness:dev"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / "a.py"
    file.write_text("VALUE = 7\n")
    file.chmod(0o600)
    return file


@pytest.fixture
def below(tmp_path: Path, source: Path) -> Path:
    """A small docker-archive with one layer and a user."""
    layer = layer_from_files(tmp_path / "base.tar", {"bin/x": source})
    target = tmp_path / "below.tar"
    write_archive(target, [Image(name="base:1", layers=[layer], config={"User": "1000:1000"})], "amd64")
    return target


def test_the_layer_is_root_s_and_readable_for_all(tmp_path: Path, source: Path) -> None:
    layer = write_code_layer(tmp_path / "layer.tar", {NAME: source}, tmp_path)
    with tarfile.open(layer.tar) as archive:
        members = archive.getmembers()
    assert {(member.uid, member.gid, member.mtime) for member in members} == {(0, 0, 0)}
    assert {member.mode for member in members} == {0o755, 0o644}
    assert members[0].name == "opt"


@pytest.mark.skipif(sys.version_info[:2] != IMAGE_PYTHON, reason="bytecode is made by the images' version of Python")
def test_the_layer_has_bytecode_that_names_its_place_in_the_image(tmp_path: Path, source: Path) -> None:
    layer = write_code_layer(tmp_path / "layer.tar", {NAME: source}, tmp_path)
    with tarfile.open(layer.tar) as archive:
        compiled = archive.extractfile(NAME.replace("a.py", "__pycache__/a.cpython-311.pyc"))
        assert compiled is not None
        content = compiled.read()
    assert content[4:8] == b"\x01\x00\x00\x00"  # by hash, never checked (PEP 552)
    assert marshal.loads(content[16:]).co_filename == f"/{NAME}"  # noqa: S302 - made a moment ago


def test_the_same_sources_give_the_same_layer(tmp_path: Path, source: Path) -> None:
    first = write_code_layer(tmp_path / "one.tar", {NAME: source}, tmp_path)
    source.touch()
    second = write_code_layer(tmp_path / "two.tar", {NAME: source}, tmp_path)
    assert first.digest == second.digest


def test_an_extended_archive_has_the_layer_on_top_and_its_own_tags(tmp_path: Path, source: Path, below: Path) -> None:
    layer = write_code_layer(tmp_path / "layer.tar", {NAME: source}, tmp_path)
    target = tmp_path / "image.tar"
    write_extended(target, below, layer, TAGS)
    with tarfile.open(target) as archive:
        (entry,) = json.load(archive.extractfile("manifest.json"))  # type: ignore[arg-type]  # it is a file
        config = json.load(archive.extractfile(entry["Config"]))  # type: ignore[arg-type]  # it is a file
        names = archive.getnames()
    assert entry["RepoTags"] == TAGS
    assert set(entry["Layers"]) < set(names)
    assert config["rootfs"]["diff_ids"][-1] == f"sha256:{layer.digest}"
    assert len(config["rootfs"]["diff_ids"]) == len(entry["Layers"]) == len(config["history"]) == 2
    assert config["config"] == {"User": "1000:1000"}
    assert tags_in(target).keys() == set(TAGS)


def test_an_image_without_our_code_gets_tags_only(tmp_path: Path, below: Path) -> None:
    target = tmp_path / "image.tar"
    write_extended(target, below, None, TAGS)
    with tarfile.open(target) as archive:
        (entry,) = json.load(archive.extractfile("manifest.json"))  # type: ignore[arg-type]  # it is a file
    assert len(entry["Layers"]) == 1
    assert entry["RepoTags"] == TAGS


def test_the_moment_of_a_build_is_not_in_the_image() -> None:
    config = {"created": "2026-01-01T00:00:00Z", "rootfs": {"type": "layers", "diff_ids": []}}
    assert extended_config(config, None)["created"] == "1970-01-01T00:00:00Z"


def test_links_between_layers_are_followed(tmp_path: Path, below: Path) -> None:
    linked = tmp_path / "linked.tar"
    with tarfile.open(below) as source, tarfile.open(linked, "w") as archive:
        (entry,) = json.load(source.extractfile("manifest.json"))  # type: ignore[arg-type]  # it is a file
        for member in source.getmembers():
            if member.name != "manifest.json":
                archive.addfile(member, source.extractfile(member))
        link = tarfile.TarInfo("id/layer.tar")
        link.type, link.linkname = tarfile.SYMTYPE, f"../{entry['Layers'][0]}"
        archive.addfile(link)
        manifest = tmp_path / "manifest.json"
        manifest.write_text(json.dumps([{**entry, "Layers": ["id/layer.tar"]}]))
        archive.add(manifest, "manifest.json")
    target = tmp_path / "image.tar"
    write_extended(target, linked, None, TAGS)
    with tarfile.open(target) as archive:
        assert archive.getmember("id-layer.tar").size > 0
