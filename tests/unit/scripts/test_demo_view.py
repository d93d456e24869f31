from typing import Any

import pytest

from demo.view import View


@pytest.mark.parametrize(
    ("event", "shown"),
    [
        (
            {"type": "user.message", "content": [{"type": "text", "text": "Mend it.\n```script```"}]},
            "Mend it.",
        ),
        ({"type": "agent.tool_use", "name": "bash", "input": {"command": "ls"}}, "bash ls"),
        ({"type": "agent.tool_result", "content": []}, "(no output)"),
        ({"type": "session.status_idle", "stop_reason": {"type": "end_turn"}}, "idle: end_turn"),
        ({"type": "session.error", "error": {"type": "unknown_error", "message": "why"}}, "unknown_error: why"),
    ],
)
def test_events_are_shown_as_a_person_reads_them(event: dict[str, Any], shown: str) -> None:
    text = View(colour=False).render(event)
    assert text is not None
    assert shown in text
    assert "```" not in text


def test_long_results_are_cut_and_say_so() -> None:
    content = [{"type": "text", "text": "\n".join(str(number) for number in range(100))}]
    text = View(colour=False).render({"type": "agent.tool_result", "content": content})
    assert text is not None
    assert "86 more lines" in text


def test_spans_are_not_shown() -> None:
    assert View(colour=False).render({"type": "span.model_request_start"}) is None
