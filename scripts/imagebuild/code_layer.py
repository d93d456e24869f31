"""Makes the layer that holds our code: sources and their compiled form, the same bytes for the same sources."""

import io
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from cluster.archive import Layer, layer_of

IMAGE_PYTHON = (3, 11)
"""Python of the images; only its own bytecode is of use there."""

_WANTED = f"import sys; sys.exit(sys.version_info[:2] != {IMAGE_PYTHON})"


def write_code_layer(target: Path, files: Mapping[str, Path], repository: Path) -> Layer:
    """Pack `files` (path in the image to file) as root's and readable for all, with bytecode where it can be made here.

    Without a Python of the images' version on this machine the layer holds sources only, and processes start slower.
    """
    python = _image_python(repository)
    with TemporaryDirectory(dir=target.parent) as folder:
        root = Path(folder)
        for name, file in files.items():
            placed = root / name
            placed.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, placed)
        if python is not None:
            _compile(python, root)
        _pack(target, root)
    return layer_of(target)


def _image_python(repository: Path) -> str | None:
    candidates = [sys.executable, str(repository / ".venv/bin/python"), shutil.which("python3.11"), "/usr/bin/python3"]
    for candidate in candidates:
        if candidate and Path(candidate).exists():
            done = subprocess.run([candidate, "-c", _WANTED], capture_output=True, check=False)
            if done.returncode == 0:
                return candidate
    return None


def _compile(python: str, root: Path) -> None:
    """Write bytecode that is never checked against its source: both only ever change together, with the image."""
    options = ["-q", "--invalidation-mode", "unchecked-hash", "-s", str(root), "-p", "/"]
    subprocess.run([python, "-m", "compileall", *options, str(root)], check=True, stdout=subprocess.DEVNULL)


def _pack(target: Path, root: Path) -> None:
    with tarfile.open(target, "w", format=tarfile.GNU_FORMAT) as archive:
        for path in sorted(root.rglob("*")):
            entry = tarfile.TarInfo(str(path.relative_to(root)))
            if path.is_dir():
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(entry)
            else:
                content = path.read_bytes()
                entry.size, entry.mode = len(content), 0o644
                archive.addfile(entry, io.BytesIO(content))
