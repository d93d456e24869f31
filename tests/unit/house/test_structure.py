"""The hard stops of the house: sizes, where broad excepts stand, what may not exist."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
CODE_LINES_MAX = 400
TEST_LINES_MAX = 500
FUNCTION_LINES_MAX = 60

BROAD_EXCEPTS = {
    "harness_image/managed_agents/harness/respawner.py": "main of a forked worker",
    "harness_image/managed_agents/proxy/audit.py": "edge of HTTP",
    "harness_image/managed_agents/sandbox/runner/dispatch.py": "tool dispatch",
    "harness_image/managed_agents/sandbox/supervisor/http.py": "edge of HTTP",
    "operator/managed_agents/eventlog/sqlite/worker.py": "edge of the database's thread",
    "operator/managed_agents/operator/workqueue.py": "queue worker",
    "operator/managed_agents/server/middleware.py": "edge of HTTP",
    "operator/managed_agents/simulator/handlers.py": "edge of HTTP",
}
"""Files that may catch Exception, each with its reason: the edges where one failure must not end the process."""


def _python_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [REPOSITORY / name for name in listed.stdout.splitlines() if (REPOSITORY / name).exists()]


def _functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_no_file_is_longer_than_its_hard_stop() -> None:
    for path in _python_files():
        limit = TEST_LINES_MAX if "tests" in path.relative_to(REPOSITORY).parts else CODE_LINES_MAX
        assert len(path.read_text().splitlines()) <= limit, path


def test_no_function_is_longer_than_its_hard_stop() -> None:
    for path in _python_files():
        for function in _functions(path):
            assert (function.end_lineno or 0) - function.lineno < FUNCTION_LINES_MAX, (path, function.name)


def test_exceptions_are_caught_broadly_only_at_listed_edges() -> None:
    broad = re.compile(r"^\s*except (Base)?Exception\b", re.MULTILINE)
    found = {
        str(path.relative_to(REPOSITORY))
        for path in _python_files()
        if "tests" not in path.parts and broad.search(path.read_text())
    }
    assert found == set(BROAD_EXCEPTS)


def test_every_suppression_names_its_rules_and_its_reason() -> None:
    suppression = re.compile(r"# (noqa|type: ignore)")
    with_reason = re.compile(r"# (noqa: [A-Z0-9, ]+?|type: ignore\[[a-z, -]+\]) *(# )?[-(]? ?\w+.* \w+")
    for path in _python_files():
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            if suppression.search(line) and path != Path(__file__):
                assert with_reason.search(line), f"{path}:{number}: {line.strip()}"


def test_no_package_shadows_the_standard_library() -> None:
    for root in ("operator", "harness_image"):
        assert not (REPOSITORY / root / "__init__.py").exists()
        assert not (REPOSITORY / root / "managed_agents" / "__init__.py").exists()
    assert not list((REPOSITORY / "tests").rglob("__init__.py"))


def test_locks_and_manifests_name_no_machine() -> None:
    for path in (REPOSITORY / "locks").glob("*.txt"):
        assert not re.search(r"https?://|/root/", path.read_text()), path
    for path in (REPOSITORY / "manifests").rglob("*.yaml"):
        assert "/root/" not in path.read_text(), path
