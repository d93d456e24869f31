"""What a recorded log leads to: the next step and the messages of the next request, as JSON values.

`python -m support.replay FILE...`, run in `tests/`, adds both to recordings that hold `about`, `config` and `events`.
"""

import dataclasses
import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from managed_agents.harness.history.fold import fold
from managed_agents.harness.history.state import State
from managed_agents.harness.session import session_for
from managed_agents.harness.settings import Settings
from managed_agents.harness.step import next_step


def outcome_of(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Fold a recording and return its `step` and `messages_sha256`."""
    session, settings = session_for(recorded["config"]), Settings()
    state = fold(State(), recorded["events"])
    step = next_step(state, session, settings)
    messages = b"".join(state.conversation.messages())
    fields = json.loads(json.dumps(dataclasses.asdict(step), default=str))
    return {"step": {"name": type(step).__name__, **fields}, "messages_sha256": hashlib.sha256(messages).hexdigest()}


def main() -> None:
    """Add outcomes to recordings."""
    for name in sys.argv[1:]:
        path = Path(name)
        recorded = json.loads(path.read_text())
        path.write_text(json.dumps(recorded | outcome_of(recorded), indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
