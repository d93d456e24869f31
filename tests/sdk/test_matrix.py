"""Every route, helper and error class with released versions of the official SDKs, against the deployed server."""

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from support.sdks import VERSIONS, compiled, python_with, run_program

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
REGISTER = REPOSITORY / "docs" / "api-compatibility.md"
TABLE = REPOSITORY / "build" / "sdk-matrix.md"
SIGNS = {"pass": "✓", "absent": "n/a", "fail": "✗"}
ALL = [(language, version) for language in ("python", "typescript") for version in VERSIONS[language]]

Results = dict[str, dict[str, str]]
"""Version → name of a check → status."""


@pytest.fixture(scope="module")
def results() -> Iterator[Results]:
    """Collect the results of all versions, and write the table of acceptance at the end."""
    collected: Results = {}
    yield collected
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text(render(collected))


def render(results: Results) -> str:
    names = list(dict.fromkeys(name for checks in results.values() for name in checks))
    head = f"| | {' | '.join(results)} |\n|---|{'---|' * len(results)}\n"
    rows = (f"| `{name}` | {' | '.join(SIGNS[results[v].get(name, 'absent')] for v in results)} |\n" for name in names)
    return head + "".join(rows)


def known_differences() -> Mapping[tuple[str, str], str]:
    """Return the register's table of SDK differences: (version, check) → reason."""
    rows = re.findall(r"^\| (python|typescript) ([\d.]+) \| `([^`]+)` \| (.+) \|$", REGISTER.read_text(), re.MULTILINE)
    return {(f"{language} {version}", name): reason for language, version, name, reason in rows}


@pytest.mark.parametrize(("language", "version"), ALL)
def test_version_of_the_sdk_works_unmodified(language: str, version: str, results: Results) -> None:
    if "ANTHROPIC_BASE_URL" not in os.environ:
        pytest.skip("no cluster with a server is reachable; run `make test`, or pytest under scripts/with-cluster")
    if language == "typescript" and shutil.which("npm") is None:
        pytest.skip("npm is not installed; the TypeScript SDK needs Node.js 20 or newer")
    if language == "python":
        command = [str(python_with(version)), str(HERE / "exercise.py")]
    else:
        command = ["node", str(compiled(version, HERE / "exercise.ts"))]
    shown = f"{language} {version}"
    environment = {"SDK_DEAF": "1" if shown in VERSIONS["deaf"] else "0"}
    lines = [json.loads(line) for line in run_program(command, seconds=600, environment=environment).splitlines()]
    results[shown] = {line["name"]: line["status"] for line in lines}
    known = known_differences()
    surprises = [line for line in lines if line["status"] == "fail" and (shown, line["name"]) not in known]
    assert surprises == []
    mended = [name for (of, name) in known if of == shown and results[shown].get(name) == "pass"]
    assert mended == [], "the register lists differences that are none any more"
    assert len(lines) > 40
