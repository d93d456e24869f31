"""The fold from events to what a summary shows."""

from typing import Any

import pytest

from managed_agents.eventlog.projection import Folded, Projection, cut_text, fold


def folded(*events: dict[str, Any]) -> Projection:
    projection = Projection(status_since="t0", last_at="t0")
    for event in events:
        client = event["type"].startswith("user.")
        on_receipt = event.pop("on_receipt", False)
        position = projection.head + 1
        projection = fold(
            projection,
            Folded(
                position=position,
                at=f"t{position}",
                event={"id": f"e{position}", **event},
                internal=event.get("internal"),
                client=client,
                on_receipt=on_receipt,
            ),
        )
    return projection


MESSAGE = {"type": "user.message", "content": []}
RUNNING = {"type": "session.status_running"}
IDLE = {"type": "session.status_idle", "stop_reason": {"type": "end_turn"}}
CAPPED = {"type": "session.status_idle", "stop_reason": {"type": "budget_reached"}}


@pytest.mark.parametrize(
    ("events", "wanted"),
    [
        ([], False),
        ([MESSAGE], True),
        ([MESSAGE, RUNNING], True),
        ([MESSAGE, RUNNING, {"type": "session.status_rescheduled"}], True),
        ([MESSAGE, RUNNING, IDLE], False),
        ([MESSAGE, RUNNING, IDLE, MESSAGE], True),
        ([MESSAGE, RUNNING, IDLE, {"type": "user.interrupt", "on_receipt": True}], False),
        ([MESSAGE, RUNNING, IDLE, {"type": "user.interrupt"}], True),
        ([MESSAGE, RUNNING, IDLE, {"type": "session.updated"}], False),
        ([MESSAGE, {"type": "session.status_terminated"}], False),
        ([MESSAGE, RUNNING, CAPPED, {"type": "session.updated", "title": "new"}], False),
        ([MESSAGE, RUNNING, CAPPED, {"type": "session.updated", "budget": None}], True),
        ([MESSAGE, RUNNING, CAPPED, {"type": "session.updated", "budget": None}, IDLE], False),
        ([MESSAGE, RUNNING, IDLE, {"type": "session.updated", "budget": None}], False),
    ],
)
def test_wanted_means_an_open_turn_or_input_after_the_last_idle(events: list[dict[str, Any]], wanted: bool) -> None:
    assert folded(*[dict(event) for event in events]).wanted is wanted


def test_a_turn_moves_status_stop_reason_usage_and_last_message() -> None:
    projection = folded(
        MESSAGE,
        RUNNING,
        {"type": "agent.message", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"type": "session.usage", "usage": {"input_tokens": 3}},
        IDLE,
    )
    assert (projection.status, projection.status_since, projection.stop_reason) == ("idle", "t5", {"type": "end_turn"})
    assert projection.usage == {"input_tokens": 3}
    assert projection.last_message == {"text": "a\nb", "truncated": False, "position": 3}
    assert (projection.head, projection.client_head, projection.idle_head) == (5, 1, 5)


def test_status_since_stays_while_the_status_stays() -> None:
    assert folded(RUNNING, RUNNING).status_since == "t1"


def test_pending_actions_follow_asks_results_and_confirmations() -> None:
    ask = {"type": "agent.tool_use", "name": "bash", "input": {"command": "ls"}, "evaluated_permission": "ask"}
    allowed = {"type": "agent.tool_use", "name": "read", "input": {}, "evaluated_permission": "allow"}
    custom = {"type": "agent.custom_tool_use", "name": "deploy", "input": {}}
    waiting = {"type": "session.status_idle", "stop_reason": {"type": "requires_action", "event_ids": ["e1", "e3"]}}
    projection = folded(ask, allowed, custom, waiting)
    assert projection.pending == {
        "e1": {"kind": "ask", "tool": "bash", "input_excerpt": '{"command":"ls"}'},
        "e3": {"kind": "custom", "tool": "deploy", "input_excerpt": "{}"},
    }
    assert projection.requires_action == ("e1", "e3")
    confirmed = folded(ask, allowed, custom, waiting, {"type": "user.tool_confirmation", "tool_use_id": "e1"})
    assert (confirmed.requires_action, confirmed.wanted) == (("e3",), True)
    result = {"type": "user.custom_tool_result", "custom_tool_use_id": "e3", "on_receipt": True}
    assert folded(ask, allowed, custom, waiting, result).requires_action == ("e1",)
    closed = folded(ask, allowed, custom, {"type": "agent.tool_result", "tool_use_id": "e1"})
    assert list(closed.pending) == ["e3"]


def test_an_error_shows_its_reason_until_a_model_request_succeeds() -> None:
    error = {
        "type": "session.error",
        "error": {"type": "model_overloaded_error", "message": "busy", "retry_status": {"type": "retrying"}},
    }
    assert folded(RUNNING, error).last_error == {
        "type": "model_overloaded_error",
        "reason": "ModelOverloaded",
        "message": "busy",
        "retry_status": "retrying",
        "position": 2,
    }
    assert (folded(error | {"internal": {"reason": "ModelNotServed"}}).last_error or {})["reason"] == "ModelNotServed"
    failed = {"type": "span.model_request_end", "is_error": True}
    assert folded(RUNNING, error, failed).last_error is not None
    assert folded(RUNNING, error, {"type": "span.model_request_end"}).last_error is None
    assert folded(error, RUNNING).last_error is None


def test_a_reached_budget_is_lifted_by_a_new_one() -> None:
    reached = {"type": "session.status_idle", "stop_reason": {"type": "budget_reached"}}
    assert folded(reached).budget_reached
    assert folded(reached, {"type": "session.updated", "title": "x"}).budget_reached
    assert not folded(reached, {"type": "session.updated", "budget": None}).budget_reached


@pytest.mark.parametrize(
    ("text", "most", "expected"),
    [("abc", 3, ("abc", False)), ("abcd", 3, ("abc", True)), ("aéé", 4, ("aé", True)), ("€", 2, ("", True))],
)
def test_text_is_cut_on_a_character_boundary(text: str, most: int, expected: tuple[str, bool]) -> None:
    assert cut_text(text, most) == expected


def test_a_call_of_a_worker_waits_for_its_confirmation_and_then_for_its_result() -> None:
    use = {"type": "agent.tool_use", "name": "bash", "evaluated_permission": "ask", "internal": {"client": True}}
    confirmed = {"type": "user.tool_confirmation", "tool_use_id": "e2", "result": "allow"}
    denied = confirmed | {"result": "deny"}
    result = {"type": "user.tool_result", "tool_use_id": "e2"}

    def kinds(*events: dict[str, Any]) -> list[str]:
        return [entry["kind"] for entry in folded(RUNNING, use, *events).pending.values()]

    assert [kinds(), kinds(confirmed), kinds(confirmed, result), kinds(denied)] == [["ask"], ["tool"], [], []]
