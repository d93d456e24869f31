"""`glob` and `grep`. They run in a process of their own, so a slow walk blocks nobody and can be killed."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path, PurePosixPath
from types import FrameType

from managed_agents.sandbox.runner.environment import scrubbed
from managed_agents.sandbox.runner.limits import (
    GLOB_RESULTS_MAX,
    GREP_CPU_SECONDS,
    GREP_LINE_BYTES_MAX,
    GREP_OUTPUT_CHARS_MAX,
    WALK_ENTRIES_MAX,
)
from managed_agents.sandbox.runner.tools.errors import ToolError
from managed_agents.sandbox.runner.tools.paths import Roots, canonicalize, within

_SKIPPED_DIRECTORIES = (".git", "node_modules")
_RG_BYTES_MAX = 4 * GREP_OUTPUT_CHARS_MAX + 4  # UTF-8 takes at most four bytes a character
_TRUNCATED = f"[output truncated at {GREP_OUTPUT_CHARS_MAX} bytes]"


def _search_root(roots: Roots, tool: str, path: str | None) -> Path:
    if not path:
        return roots.workdir.resolve()
    try:
        return roots.resolve(path)
    except ValueError as error:
        raise ToolError(f"{tool}: {error}") from error


def glob(roots: Roots, *, pattern: str, path: str | None) -> str:
    """List the paths that match a relative pattern, newest first."""
    if Path(pattern).is_absolute():
        raise ToolError("glob: absolute pattern not permitted; pass a relative pattern (and optionally path)")
    if ".." in PurePosixPath(pattern).parts:
        raise ToolError("glob: '..' is not permitted in the pattern")
    root = _search_root(roots, "glob", path)
    try:
        matches = list(islice(root.glob(pattern), WALK_ENTRIES_MAX))
    except (ValueError, OSError) as error:
        raise ToolError(f"glob: {error}") from error
    matches = list(_confined(matches, root))
    if not matches:
        return "no matches"
    matches.sort(key=_modified, reverse=True)
    return "\n".join(str(match) for match in matches[:GLOB_RESULTS_MAX])


def _confined(matches: Iterable[Path], root: Path) -> Iterator[Path]:
    """Drop what a link met within the pattern leads out of the root, and what cannot be resolved."""
    for match in matches:
        try:
            canonical = canonicalize(match)
        except OSError:
            continue
        if within(canonical, root):
            yield match


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def grep(roots: Roots, *, pattern: str, path: str | None) -> str:
    """Search file contents with ripgrep where the image has it, else with a built-in walk."""
    search = _search_root(roots, "grep", path)
    rg = _ripgrep(roots)
    if rg:
        return _grep_by_ripgrep(rg, pattern, search)
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ToolError(f"grep: invalid regex: {error}") from error
    _arm_cpu_limit()
    try:
        return _Walk(expression).run(search)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _ripgrep(roots: Roots) -> str | None:
    """Return the first `rg` on PATH that the file tools could not have written."""
    for entry in os.get_exec_path():
        if Path(entry).is_absolute():
            found = shutil.which("rg", path=entry)
            if found and not roots.may_reach(found):
                return found
    return None


def _grep_by_ripgrep(rg: str, pattern: str, search: Path) -> str:
    process = subprocess.Popen(
        [rg, "--no-config", "-n", "--no-heading", "-e", pattern, "--", str(search)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=scrubbed(os.environ),
    )
    assert process.stdout is not None and process.stderr is not None  # noqa: S101, PT018 - both were asked for
    out = process.stdout.read(_RG_BYTES_MAX + 1).decode("utf-8", "replace")
    if len(out) > GREP_OUTPUT_CHARS_MAX:
        process.kill()
        process.communicate()
        return out[:GREP_OUTPUT_CHARS_MAX] + "\n" + _TRUNCATED
    stderr = process.communicate()[1]
    if process.returncode == 1:
        return "no matches"
    if process.returncode != 0:
        raise ToolError(f"grep: rg failed: {stderr.decode('utf-8', 'replace')}")
    return out


def _arm_cpu_limit() -> None:
    """Bound the walk's CPU time: Python's expressions backtrack, and the model wrote this one."""

    def expire(_signal: int, _frame: FrameType | None) -> None:
        raise ToolError(f"grep: timed out after {GREP_CPU_SECONDS}s")

    signal.signal(signal.SIGVTALRM, expire)
    signal.setitimer(signal.ITIMER_VIRTUAL, GREP_CPU_SECONDS)


class _Walk:
    """Collects `path:line:text` of every match, until the output is full."""

    def __init__(self, expression: re.Pattern[str]) -> None:
        self._expression = expression
        self._hits: list[str] = []
        self._budget = GREP_OUTPUT_CHARS_MAX

    def run(self, search: Path) -> str:
        if search.is_file():
            self._scan(search)
        else:
            for count, full in enumerate(_files_under(search), 1):
                if count > WALK_ENTRIES_MAX or not self._scan(full):
                    break
        return "\n".join(self._hits) if self._hits else "no matches"

    def _scan(self, full: Path) -> bool:
        """Search one file; false when the output is full. What cannot be read, or is binary, has no matches."""
        try:
            with full.open("rb") as stream:
                if b"\x00" in stream.read(512):
                    return True
                stream.seek(0)
                for number, raw in enumerate(stream, 1):
                    if len(raw) > GREP_LINE_BYTES_MAX:
                        continue
                    line = raw.decode("utf-8", "replace").rstrip("\r\n")
                    if self._expression.search(line) and not self._push(f"{full}:{number}:{line}"):
                        return False
        except OSError:
            return True
        return True

    def _push(self, hit: str) -> bool:
        self._budget -= len(hit) + 1
        if self._budget < 0:
            self._hits.append(_TRUNCATED)
            return False
        self._hits.append(hit)
        return True


def _files_under(search: Path) -> Iterator[Path]:
    """Yield the regular files below a directory. Never follows a link: one that points at `/` would lead out."""
    for dirpath, dirnames, filenames in os.walk(search):
        here = Path(dirpath)
        dirnames[:] = [d for d in dirnames if d not in _SKIPPED_DIRECTORIES and not (here / d).is_symlink()]
        for name in filenames:
            full = here / name
            if not full.is_symlink() and full.is_file():
                yield full
