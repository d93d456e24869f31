"""All of scripts/images where an engine can pull, with a recording fake of docker that saves as Docker 29 does."""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from cluster.archive import tags_in

SCRIPTS = Path(__file__).resolve().parents[3] / "scripts"

pytestmark = pytest.mark.slow

DOCKER = """#!{python}
import gzip, hashlib, io, json, os, sys, tarfile
words = sys.argv[1:]
settings = {{name: os.environ.get(name) for name in ("DOCKER_BUILDKIT", "BUILDX_NO_DEFAULT_ATTESTATIONS")}}
if words[0] == "build":
    context = words[-1]
    seen = [os.path.join(place, name)[len(context) + 1:] for place, _, names in os.walk(context) for name in names]
    secrets = [open(word.split("src=")[1]).read() for word in words if word.startswith("--secret=id=build-environment")]
    record = {{"words": words, "settings": settings, "context": seen, "secrets": secrets}}
    open(os.environ["HOME"] + "/builds", "a").write(json.dumps(record) + "\\n")
if words[0] == "save":
    inner = io.BytesIO()
    tarfile.open(fileobj=inner, mode="w").close()
    layer = gzip.compress(inner.getvalue(), mtime=0)  # an image store of containerd saves layers as it keeps them
    config = json.dumps({{"architecture": "amd64", "os": "linux", "config": {{"User": "1000"}}, "rootfs": {{
        "type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(inner.getvalue()).hexdigest()]}}}}).encode()
    place = lambda data: "blobs/sha256/" + hashlib.sha256(data).hexdigest()
    entry = {{"Config": place(config), "RepoTags": [words[2]], "Layers": [place(layer)]}}
    with tarfile.open(words[1].split("=", 1)[1], "w") as archive:
        files = [(place(layer), layer), (place(config), config), ("manifest.json", json.dumps([entry]).encode()),
                 ("oci-layout", b"{{}}"), ("index.json", b"{{}}")]
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    docker = tmp_path / "bin" / "docker"
    docker.write_text(DOCKER.format(python=sys.executable))
    docker.chmod(0o755)
    return tmp_path


def images(home: Path, *words: str) -> str:
    environment = {"HOME": str(home), "PATH": f"{home / 'bin'}:{os.environ['PATH']}", "PIP_INDEX_URL": "http://index"}
    command = [sys.executable, str(SCRIPTS / "images"), *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_three_images_are_built_once_from_the_public_base_and_carry_our_code(home: Path) -> None:
    names = json.loads(images(home, "--print"))
    builds = [json.loads(line) for line in (home / "builds").read_text().splitlines()]
    assert sorted(names) == ["control-plane", "harness", "sandbox"]
    assert len(builds) == 3
    for build in builds:
        words = build["words"]
        assert "--target=dependencies" in words
        assert not [word for word in words if word.startswith("--build-arg")]  # the Dockerfile's own base
        assert build["settings"] == {"DOCKER_BUILDKIT": "1", "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
        assert "PIP_INDEX_URL=http://index" in build["secrets"][0]
        assert not [file for file in build["context"] if file.endswith(".py")]  # our code changes no slow stage

    archives = [Path(line) for line in images(home, "--archives").splitlines()]
    assert len((home / "builds").read_text().splitlines()) == 3
    for archive in archives:
        tags = tags_in(archive)
        assert len(tags) == 2
        assert any(tag.endswith(":dev") for tag in tags)
    harness = next(archive for archive in archives if archive.name.startswith("harness-"))
    with tarfile.open(harness) as opened:
        entry = json.loads(opened.extractfile("manifest.json").read())[0]  # type: ignore[union-attr]  # it is a file
        assert set(entry["Layers"]) <= set(opened.getnames())
        with tarfile.open(fileobj=opened.extractfile(entry["Layers"][-1])) as layer:
            assert any(name.endswith("managed_agents/harness/loop.py") for name in layer.getnames())
