"""Schemathesis on the published document, against a server of its own: every answer is documented, none is a 500."""

import asyncio
import sys
from pathlib import Path

import pytest

from support.server import USER_TOKEN, server_process

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
EXAMPLES = 5
RUN_SECONDS = 150
BUDGET_SECONDS = 40
"""The document has thousands of cases; a run tries what fits into this time."""


@pytest.mark.slow
@pytest.mark.timeout(200)
async def test_every_answer_is_documented_and_none_is_a_failure_of_the_server(tmp_path: Path) -> None:
    async with server_process(tmp_path) as process:
        command = [
            str(Path(sys.executable).with_name("schemathesis")),
            "run",
            f"{process.server.public_url}/openapi.json",
            *("--header", f"Authorization:Bearer {USER_TOKEN}", "--header", "anthropic-workspace-id:team-a"),
            *("--checks", CHECKS, "--phases", "examples,coverage,fuzzing", "--max-examples", str(EXAMPLES)),
            *("--exclude-path-regex", "/stream$", "--seed", "4", "--suppress-health-check", "all"),
            *("--max-time", str(BUDGET_SECONDS), "--no-color", "--warnings", "off", "--no-shrink"),
            *("--generation-database", "none", "--request-timeout", "10"),
        ]
        running = await asyncio.create_subprocess_exec(
            *command, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        async with asyncio.timeout(RUN_SECONDS):
            output, _ = await running.communicate()
    assert running.returncode == 0, output.decode()[-6000:]
