"""Which changes of a Session's state become Kubernetes Events, also those that no status showed."""

from typing import Any

import pytest

from managed_agents.operator.actions import Announce
from managed_agents.operator.sessions.announcements import transition_announcements
from support.operator_values import observed, session, summary
from support.requirements import requirement


def idle(reason: str) -> dict[str, Any]:
    return {"type": "Idle", "status": "True" if reason == "EndTurn" else "False", "reason": reason, "message": "m"}


def told(before: dict[str, Any] | None, after: dict[str, Any]) -> list[str]:
    known = {**session("e0"), **({} if before is None else {"status": before})}
    actions = transition_announcements(observed(session=known, summary=summary()), after)
    return [action.reason for action in actions if isinstance(action, Announce)]


@requirement("told")
@pytest.mark.parametrize(
    ("before", "after", "reasons"),
    [
        (("StartingHarness", 0), ("Running", 0), ["Running"]),
        (("Running", 0), ("EndTurn", 1), ["EndTurn"]),
        (("StartingHarness", 0), ("EndTurn", 1), ["Running", "EndTurn"]),
        (("EndTurn", 1), ("EndTurn", 2), ["Running", "EndTurn"]),
        (("EndTurn", 1), ("EndTurn", 1), []),
        (None, ("EndTurn", 1), ["Running", "EndTurn"]),
    ],
    ids=["opened", "ended", "too short to be seen", "a second too short one", "nothing new", "first status"],
)
def test_each_turn_is_told_of_however_short(
    before: tuple[str, int] | None, after: tuple[str, int], reasons: list[str]
) -> None:
    def status(state: tuple[str, int]) -> dict[str, Any]:
        return {"conditions": [idle(state[0])], "usage": {"totalTokens": state[1]} if state[1] else None}

    assert told(None if before is None else status(before), status(after)) == reasons
