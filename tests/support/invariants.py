"""The guarantees that a finished log must keep, whatever happened to its writers (I2, I4, I5, I7)."""

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from managed_agents.contracts.events import types

_RESULT_KEYS = ("tool_use_id", "custom_tool_use_id")


def check_log(events: Sequence[Mapping[str, Any]], epochs: Iterable[int | None]) -> None:
    """Assert what holds for a log that ends idle."""
    assert [event["position"] for event in events] == list(range(1, len(events) + 1))
    assert len({event["id"] for event in events}) == len(events)
    written = [epoch for epoch in epochs if epoch is not None]
    assert written == sorted(written)
    assert events[-1]["type"] == types.STATUS_IDLE
    _check_tools(events)
    _check_spans(events)
    _check_turns(events)


def _check_tools(events: Sequence[Mapping[str, Any]]) -> None:
    uses = [event["id"] for event in events if event["type"] in (types.AGENT_TOOL_USE, types.AGENT_CUSTOM_TOOL_USE)]
    results = Counter(
        event[key]
        for event in events
        if event["type"] in (types.AGENT_TOOL_RESULT, types.USER_CUSTOM_TOOL_RESULT)
        for key in _RESULT_KEYS
        if key in event
    )
    waiting = events[-1]["stop_reason"].get("event_ids", [])
    expected = Counter(use for use in uses if use not in waiting)
    assert results == expected, f"results {results} for uses {expected}"


def _check_spans(events: Sequence[Mapping[str, Any]]) -> None:
    starts = [event["id"] for event in events if event["type"] == types.REQUEST_START]
    ends = [event["model_request_start_id"] for event in events if event["type"] == types.REQUEST_END]
    assert starts == ends


def _check_turns(events: Sequence[Mapping[str, Any]]) -> None:
    for before, event in itertools.pairwise(events):
        if event["type"] == types.STATUS_IDLE:
            assert before["type"] == types.SESSION_USAGE
    for event in events:
        if event["type"] == types.USER_MESSAGE:
            assert event["processed_at"] is not None
