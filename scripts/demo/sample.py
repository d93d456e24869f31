"""The project that the demo's agent repairs: a real sdist from the package index, with one bug put in."""

import base64
import gzip
import io
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

REQUIREMENT = "inflection==0.5.1"
ARCHIVE = "inflection-0.5.1.tar.gz"
FILE = "inflection-0.5.1/inflection/__init__.py"
RIGHT = b"number % 100 in (11, 12, 13):"
WRONG = b"number % 100 in (11, 12):"


def config_map(cache: Path) -> dict[str, Any]:
    """Return the ConfigMap `sample-project` with the faulty project as `project.tar.gz`.

    `fetch` has put the sdist into `cache`. Raises: ValueError when it does not hold the line to break.
    """
    archive = cache / "samples" / ARCHIVE
    content = base64.b64encode(with_bug(archive.read_bytes())).decode()
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "sample-project"},
        "binaryData": {"project.tar.gz": content},
    }


def with_bug(sdist: bytes) -> bytes:
    """Return the same archive with one line of one file made wrong; equal input gives equal bytes."""
    target = io.BytesIO()
    changed = False
    with (
        tarfile.open(fileobj=io.BytesIO(sdist)) as source,
        gzip.GzipFile(fileobj=target, mode="wb", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as result,
    ):
        for member in source:
            content = source.extractfile(member)
            data = content.read() if content else b""
            if member.name == FILE:
                changed = RIGHT in data
                data = data.replace(RIGHT, WRONG)
                member.size = len(data)
            result.addfile(member, io.BytesIO(data))
    if not changed:
        raise ValueError(f"{FILE} does not hold the line {RIGHT.decode()!r}; is it {REQUIREMENT}?")
    return target.getvalue()


def fetch(cache: Path) -> None:
    """Fetch the sdist into `cache`, once. Raises: subprocess.CalledProcessError when it is not there."""
    folder = cache / "samples"
    if (folder / ARCHIVE).exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    download = ["download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest", str(folder), REQUIREMENT]
    subprocess.run([*_pip(cache), *download], check=True, stdout=sys.stderr)


def _pip(cache: Path) -> list[str]:
    """Return a command that is pip: the system's, or one in a virtual environment of its own."""
    system = ["python3", "-m", "pip"]
    if subprocess.run([*system, "--version"], check=False, capture_output=True).returncode == 0:
        return system
    own = cache / "pip"
    if not (own / "bin" / "pip").exists():
        subprocess.run(["python3", "-m", "venv", str(own)], check=True)
    return [str(own / "bin" / "pip")]
