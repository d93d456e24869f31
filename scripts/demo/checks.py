"""What the demo's session must have shown, read from its events. Pure.

The simulated model's words are known; of a real one only its deeds are: what it called, and what came back.
"""

from typing import Any

Event = dict[str, Any]
REPORT = "/mnt/session/outputs/report.md"


class DemoError(Exception):
    """Something the demo promises did not hold."""


def check_repaired(events: list[Event], *, scripted: bool) -> None:
    """Check the first turn: the tests failed, they pass, and a report was left. Raises: DemoError."""
    results = [text_of(event) for event in events if event["type"] == "agent.tool_result"]
    if not any(" failed" in text for text in results):
        raise DemoError("no test run showed the failing test")
    last_run = next(text for text in reversed(results) if " failed" in text or " passed" in text)
    if " failed" in last_run or " passed" not in last_run:
        raise DemoError(f"the last test run shows no passing suite: {last_run!r}")
    if not _has_written_report(events):
        raise DemoError(f"no report in {REPORT}")
    final = last_message(events)
    if scripted and (" failed" in final or " passed" not in final):
        raise DemoError(f"the final message shows no passing test run: {final!r}")


def check_history(events: list[Event], *, scripted: bool) -> None:
    """Check the turn after waking: the session knows its history and has its workspace. Raises: DemoError."""
    final = last_message(events)
    if scripted and "message number 2" not in final:
        raise DemoError(f"the woken session has lost its history: {final!r}")
    results = [text_of(event) for event in events if event["type"] == "agent.tool_result"]
    if not any("13" in text for text in (final, *results)):
        raise DemoError(f"the woken session has lost its workspace: {final!r}")


def last_message(events: list[Event]) -> str:
    """Return the text of the last message. Raises: DemoError when there is none."""
    for event in reversed(events):
        if event["type"] == "agent.message":
            return text_of(event)
    raise DemoError("the agent said nothing")


def text_of(event: Event) -> str:
    """Return the text of an event's content."""
    return "\n".join(block.get("text", "") for block in event.get("content") or [])


def _has_written_report(events: list[Event]) -> bool:
    """Tell whether a call that names the report came back without an error."""
    calls = {event["id"] for event in events if event["type"] == "agent.tool_use" and REPORT in str(event["input"])}
    ended = [event for event in events if event["type"] == "agent.tool_result" and not event.get("is_error")]
    return any(event["tool_use_id"] in calls for event in ended)
