"""What the demo demands of its session: exact words of the simulated model, deeds of a real one."""

from typing import Any

import pytest

from demo.checks import DemoError, check_history, check_repaired

Event = dict[str, Any]


def call(number: int, command: str) -> Event:
    return {"type": "agent.tool_use", "id": f"t{number}", "name": "bash", "input": {"command": command}}


def result(number: int, text: str, *, is_error: bool = False) -> Event:
    content = [{"type": "text", "text": text}]
    return {"type": "agent.tool_result", "tool_use_id": f"t{number}", "content": content, "is_error": is_error}


def says(text: str) -> Event:
    return {"type": "agent.message", "content": [{"type": "text", "text": text}]}


def repair(*, last_run: str = "455 passed in 0.5s", report: str = "> /mnt/session/outputs/report.md") -> list[Event]:
    return [
        call(1, "pytest"),
        result(1, "8 failed, 447 passed"),
        call(2, "pytest"),
        result(2, last_run),
        call(3, f"echo fixed {report}"),
        result(3, "(no output)"),
        says("I mended the rule for 13."),
    ]


def test_a_real_model_is_judged_by_what_it_did() -> None:
    check_repaired(repair(), scripted=False)


@pytest.mark.parametrize(
    ("events", "word"),
    [
        (repair()[2:], "no test run showed"),
        (repair(last_run="1 failed, 454 passed"), "shows no passing suite"),
        (repair(report=""), "no report"),
        ([*repair()[:5], result(3, "Permission denied", is_error=True), says("done")], "no report"),
    ],
)
def test_what_does_not_hold_is_named(events: list[Event], word: str) -> None:
    with pytest.raises(DemoError, match=word):
        check_repaired(events, scripted=False)


def test_the_simulated_model_must_say_its_words() -> None:
    with pytest.raises(DemoError, match="final message"):
        check_repaired(repair(), scripted=True)
    check_repaired([*repair(), says("455 passed")], scripted=True)
    with pytest.raises(DemoError, match="history"):
        check_history([says("(11, 12, 13)")], scripted=True)


def test_the_workspace_may_show_in_a_result_or_in_the_answer() -> None:
    check_history([says("The rule now names 13 too.")], scripted=False)
    check_history([call(1, "git diff"), result(1, "+ (11, 12, 13)"), says("It is still there.")], scripted=False)
    with pytest.raises(DemoError, match="workspace"):
        check_history([says("I do not remember.")], scripted=False)
    with pytest.raises(DemoError, match="said nothing"):
        check_history([], scripted=False)
