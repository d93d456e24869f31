"""Released versions of the official SDKs, installed once into the user's cache folder, and programs run with them.

`python -m support.sdks` installs them all; `make test` does, for the cluster's network reaches no package registry.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
VERSIONS: Mapping[str, Any] = json.loads((REPOSITORY / "tests/sdk/versions.json").read_text())
INSTALL_SECONDS = 300


class ProgramError(AssertionError):
    """A program ended with an error; the text is what it wrote."""


def cache_folder() -> Path:
    """Return where installed SDKs stay across runs."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "managed-agents" / "sdks"


def python_with(version: str) -> Path:
    """Return an interpreter that has this version of the `anthropic` package and nothing else of ours."""
    folder = cache_folder() / f"python-{version}-{sys.version_info[0]}.{sys.version_info[1]}"
    interpreter = folder / "bin" / "python"
    if not (folder / ".done").exists():
        shutil.rmtree(folder, ignore_errors=True)
        _run([uv(), "venv", "--quiet", "--python", sys.executable, str(folder)])
        _run([uv(), "pip", "install", "--quiet", "--python", str(interpreter), f"anthropic=={version}"])
        (folder / ".done").touch()
    return interpreter


def uv() -> str:
    """Return uv: on PATH, or where scripts/venv put it."""
    found = shutil.which("uv") or next(map(str, cache_folder().parent.glob("uv-*/bin/uv")), None)
    if found is None:
        raise ProgramError("uv is neither on PATH nor in the cache folder; run scripts/venv with an empty .venv")
    return found


def typescript_with(version: str) -> Path:
    """Return a folder whose `node_modules` holds this version of the TypeScript SDK and the compiler."""
    folder = cache_folder() / f"typescript-{version}"
    if not (folder / ".done").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "package.json").write_text('{"private": true, "type": "module"}\n')
        tools = [f"{name}@{wanted}" for name, wanted in VERSIONS["typescript_tools"].items()]
        npm = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]
        _run([*npm, f"@anthropic-ai/sdk@{version}", *tools], cwd=folder)
        (folder / ".done").touch()
    return folder


def compiled(version: str, program: Path) -> Path:
    """Type-check a TypeScript program against a version of the SDK, unless that was done, and return its JavaScript."""
    folder = typescript_with(version)
    source, target, checked = folder / program.name, folder / f"{program.stem}.js", folder / f"{program.stem}.checked"
    text = program.read_text()
    if not (checked.exists() and checked.read_text() == text):
        source.write_text(text)
        options = ["--target", "es2022", "--module", "nodenext", "--strict", "--skipLibCheck", "--types", "node"]
        _run(["node", str(folder / "node_modules/typescript/bin/tsc"), *options, str(source)], cwd=folder)
        checked.write_text(text)
    return target


def run_program(command: Sequence[str], *, seconds: float = 300, environment: Mapping[str, str] | None = None) -> str:
    """Run a program that talks to the server under test; return its output. Raises: ProgramError."""
    return _run(command, seconds=seconds, environment=environment)


def _run(
    command: Sequence[str],
    *,
    cwd: Path | None = None,
    seconds: float = INSTALL_SECONDS,
    environment: Mapping[str, str] | None = None,
) -> str:
    result = subprocess.run(
        command, cwd=cwd, env={**os.environ, **(environment or {})}, capture_output=True, text=True, check=False,
        timeout=seconds,
    )  # fmt: skip
    if result.returncode != 0:
        raise ProgramError(f"{' '.join(command)}\n{result.stdout[-4000:]}\n{result.stderr[-4000:]}")
    return result.stdout


def main() -> int:
    """Install what is missing, a line each; without npm, the Python versions alone."""
    for version in VERSIONS["python"]:
        print(f"sdks: python {version}", flush=True)
        python_with(version)
    for version in VERSIONS["typescript"] if shutil.which("npm") else ():
        print(f"sdks: typescript {version}", flush=True)
        typescript_with(version)
    return 0


if __name__ == "__main__":
    sys.exit(main())
