"""Puts the runner where the tools container finds it: one zip file, written anew at each start."""

from __future__ import annotations

import io
import os
import zipfile
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

# Must parse on any Python, or an old one would answer with a syntax error instead of the reason.
_MAIN = """\
import sys
if sys.version_info < (3, 9):
    sys.exit("the sandbox image needs python3 3.9 or newer, found " + sys.version.split()[0])
from managed_agents.sandbox.runner.main import main
sys.exit(main())
"""
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same bytes from the same code


def runner_archive() -> bytes:
    """Return the zip file that `python3 -IS runner.pyz` runs."""
    files = {"__main__.py": _MAIN, "managed_agents/__init__.py": "", "managed_agents/sandbox/__init__.py": ""}
    files |= _sources(resources.files("managed_agents.sandbox.runner"), "managed_agents/sandbox/runner")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, source in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), source, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _sources(folder: Traversable, prefix: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in folder.iterdir():
        if entry.is_dir() and entry.name != "__pycache__":
            found |= _sources(entry, f"{prefix}/{entry.name}")
        elif entry.name.endswith(".py"):
            found[f"{prefix}/{entry.name}"] = entry.read_text("utf-8")
    return found


def install_runner(target: Path) -> None:
    """Write the archive, unless it is there already; a runner that starts meanwhile sees the old or the new one."""
    archive = runner_archive()
    if target.exists() and target.read_bytes() == archive:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    temporary.write_bytes(archive)
    temporary.chmod(0o444)
    temporary.replace(target)
