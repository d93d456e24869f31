"""Which previews one reader gets."""

from typing import Any

from managed_agents.server.previews import PreviewGate


def start(event_id: str, kind: str = "agent.message") -> dict[str, Any]:
    return {"type": "event_start", "event": {"type": kind, "id": event_id}}


def delta(event_id: str, index: Any = 0) -> dict[str, Any]:
    return {"type": "event_delta", "event_id": event_id, "delta": {"index": index}}


def gate(*, live: bool = True) -> PreviewGate:
    opened = PreviewGate(frozenset({"agent.message", "agent.thinking"}))
    opened.stored("r1", "span.model_request_start", live=live)
    return opened


def shown(opened: PreviewGate, *events: dict[str, Any], shed: bool = False) -> list[bool]:
    return [opened.admits(event, shed=shed) for event in events]


def test_a_start_passes_once_and_only_for_what_was_asked() -> None:
    assert shown(gate(), start("a"), start("a"), start("b", "agent.tool_use"), start("c", "agent.thinking")) == [
        True,
        False,
        False,
        True,
    ]


def test_deltas_follow_their_start_with_indices_that_neither_skip_nor_go_back() -> None:
    assert shown(gate(), delta("a"), start("a"), delta("a", None), delta("a", 1), delta("a", 1)) == [
        False,
        True,
        True,
        True,
        True,
    ]
    for bad in (2, -1, "x", 0):
        opened = gate()
        assert shown(opened, start("a"), delta("a"), delta("a", 1)) == [True, True, True]
        assert shown(opened, delta("a", bad if bad != 2 else 3), delta("a", 1)) == [False, False]


def test_thinking_has_a_start_and_no_deltas() -> None:
    assert shown(gate(), start("a", "agent.thinking"), delta("a")) == [True, False]


def test_what_was_left_out_once_stays_out() -> None:
    opened = gate()
    assert shown(opened, start("a")) == [True]
    assert shown(opened, delta("a"), shed=True) == [False]
    assert shown(opened, delta("a")) == [False]
    assert shown(opened, start("b"), shed=True) == [False]
    assert shown(opened, start("b"), delta("b")) == [False, False]


def test_nothing_passes_without_a_request_that_began_in_front_of_the_reader() -> None:
    assert shown(PreviewGate(frozenset({"agent.message"})), start("a")) == [False]
    assert shown(gate(live=False), start("a")) == [False]


def test_nothing_follows_the_event_itself_or_the_end_of_its_request() -> None:
    opened = gate()
    assert shown(opened, start("a")) == [True]
    opened.stored("a", "agent.message", live=True)
    opened.stored("b", "agent.message", live=True)
    assert shown(opened, delta("a"), start("a"), start("b"), start("c")) == [False, False, False, True]
    opened.stored("e", "span.model_request_end", live=True)
    assert shown(opened, delta("c"), start("d")) == [False, False]
