"""The example programs, unchanged, in both languages: the first SDKs whose streams deliver events, and the newest."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from support.sdks import VERSIONS, compiled, python_with, run_program

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def script(*steps: dict[str, Any]) -> str:
    return f"Follow the script.\n\n```script\n{json.dumps(list(steps))}\n```\n"


SUM = "awk -F, 'NR>1 {s+=$2} END {print s}' /mnt/session/uploads/sales.csv > /mnt/session/outputs/total.txt"
CASES: dict[str, tuple[list[str], list[str]]] = {
    "chat": (
        [
            script({"tool": "bash", "input": {"command": "expr 6 '*' 7"}}, {"text": "It is {{last_tool_result}}"}),
            script({"text": "second turn"}),
        ],
        ["It is 42", "second turn"],
    ),
    "custom_tools": (
        [script({"tool": "get_weather", "input": {"city": "Paris"}}, {"text": "In Paris: {{last_tool_result}}"})],
        ["asked for Paris", "In Paris: 18 °C, light rain"],
    ),
    "confirmations": (
        [
            script(
                {
                    "tools": [
                        {"name": "bash", "input": {"command": "echo kept"}},
                        {"name": "bash", "input": {"command": "rm -rf /workspace/x"}},
                    ]
                },
                {"text": "finished"},
            )
        ],
        ["allow: echo kept", "deny: rm -rf /workspace/x", "finished"],
    ),
    "files": (
        [script({"tool": "bash", "input": {"command": SUM}}, {"text": "written"})],
        ["written", "total.txt: 42"],
    ),
    "interrupt": (
        [script({"tool": "bash", "input": {"command": "sleep 600"}}), script({"text": "redirected"})],
        ["interrupting:", "redirected"],
    ),
}


@pytest.mark.parametrize("name", sorted(CASES))
@pytest.mark.parametrize(
    ("language", "version"),
    [
        ("python", VERSIONS["python"][1]),
        ("python", VERSIONS["python"][-1]),
        ("typescript", VERSIONS["typescript"][1]),
        ("typescript", VERSIONS["typescript"][-1]),
    ],
)
def test_example_runs_unchanged(language: str, version: str, name: str) -> None:
    if "ANTHROPIC_BASE_URL" not in os.environ:
        pytest.skip("no cluster with a server is reachable; run `make test`, or pytest under scripts/with-cluster")
    if language == "typescript" and shutil.which("npm") is None:
        pytest.skip("npm is not installed; the TypeScript SDK needs Node.js 20 or newer")
    arguments, wanted = CASES[name]
    if language == "python":
        command = [str(python_with(version)), str(EXAMPLES / "python" / f"{name}.py")]
    else:
        command = ["node", str(compiled(version, EXAMPLES / "typescript" / f"{name}.ts"))]
    output = run_program([*command, *arguments], seconds=240, environment={"MODEL": "simulated"})
    for line in wanted:
        assert line in output
