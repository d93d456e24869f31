"""Recorded logs lead today's code to the step and the messages that they led to when they were recorded (F12).

Each file of `logs/` is a JSON object: `about` (what it shows), `config`, `events` (the log as the server returns it),
`step` (the next one: its class and fields) and `messages_sha256` (of the messages that a request would hold). To record
one, write the first three and run `python -m support.replay FILE` in `tests/`; read what it adds before committing it.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from support.replay import outcome_of
from support.requirements import requirement

LOGS = sorted((Path(__file__).parent / "logs").glob("*.json"))


@requirement("F12")
@pytest.mark.parametrize("path", LOGS, ids=lambda path: path.stem)
def test_recorded_log_leads_to_its_step(path: Path) -> None:
    recorded: dict[str, Any] = json.loads(path.read_text())

    assert outcome_of(recorded) == {key: recorded[key] for key in ("step", "messages_sha256")}


def test_there_are_recorded_logs() -> None:
    assert LOGS
