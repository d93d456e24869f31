"""The ordering contract of a session's events (API reference §5.7), checked over a full list in its public form.

`violations(events)` returns what is wrong, each breach with its position; an empty list is a clean session.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from managed_agents.contracts.events import types

Event = Mapping[str, Any]

INTERRUPTED = "Tool execution was interrupted before completion. Please retry."
_USES = frozenset({types.AGENT_TOOL_USE, types.AGENT_CUSTOM_TOOL_USE, "agent.mcp_tool_use"})
_PARTS = _USES | {types.AGENT_MESSAGE, types.AGENT_THINKING}
_RESULTS = {
    types.AGENT_TOOL_RESULT: "tool_use_id",
    "agent.mcp_tool_result": "mcp_tool_use_id",
    types.USER_TOOL_RESULT: "tool_use_id",
    types.USER_CUSTOM_TOOL_RESULT: "custom_tool_use_id",
}
_WITHIN_SPANS = (
    _PARTS | types.CLIENT_TYPES | {types.SESSION_UPDATED, types.STATUS_RUNNING, types.THREAD_RUNNING, types.REQUEST_END}
)
_DIRECTLY_BEFORE = {
    types.THREAD_RUNNING: types.STATUS_RUNNING,
    types.STATUS_IDLE: types.SESSION_USAGE,
    types.SESSION_USAGE: types.THREAD_IDLE,
    types.STATUS_RESCHEDULED: types.THREAD_RESCHEDULED,
    types.THREAD_RESCHEDULED: types.SESSION_ERROR,
    types.CONTEXT_COMPACTED: types.REQUEST_END,
}
_DIRECTLY_AFTER = {
    types.STATUS_RUNNING: types.THREAD_RUNNING,
    types.THREAD_IDLE: types.SESSION_USAGE,
    types.SESSION_USAGE: types.STATUS_IDLE,
}
_FROM = {
    types.STATUS_RUNNING: ("idle", "rescheduling"),
    types.STATUS_RESCHEDULED: ("running",),
    types.STATUS_IDLE: ("running", "rescheduling", "idle"),
    types.REQUEST_START: ("running", "rescheduling"),
}
_TO = {
    types.STATUS_RUNNING: "running",
    types.STATUS_RESCHEDULED: "rescheduling",
    types.STATUS_IDLE: "idle",
    types.STATUS_TERMINATED: "terminated",
}


def violations(events: Sequence[Event], *, at_rest: bool = True) -> list[str]:
    """Check one session. `at_rest`: nobody is wanted any more, so nothing may be left undone."""
    checker = _Checker()
    found = [*_numbering(events), *_times(events), *_neighbours(events)]
    for event in events:
        found += [f"position {event['position']}: {problem}" for problem in checker.see(event)]
    return found + (list(checker.at_rest(events)) if at_rest else [])


def _numbering(events: Sequence[Event]) -> Iterator[str]:
    if [event["position"] for event in events] != list(range(1, len(events) + 1)):
        yield "positions are not 1..n"
    for event_id, count in Counter(event["id"] for event in events).items():
        if count > 1:
            yield f"{event_id} occurs {count} times"


def _times(events: Sequence[Event]) -> Iterator[str]:
    """Stamps of the server never go back, and no input is processed before it came."""
    newest = ""
    for event in events:
        at, name = event["processed_at"], f"position {event['position']}: {event['type']}"
        if at is None:
            if event["type"] not in types.CLIENT_TYPES or event["type"] in types.PROCESSED_ON_RECEIPT:
                yield f"{name} has no processed_at"
        elif at < newest:
            yield f"{name} was processed before an earlier event"
        if event["type"] not in types.CLIENT_TYPES:
            newest = max(newest, at or "")


def _neighbours(events: Sequence[Event]) -> Iterator[str]:
    for index, event in enumerate(events):
        before = events[index - 1]["type"] if index else None
        after = events[index + 1]["type"] if index + 1 < len(events) else None
        wanted = _DIRECTLY_BEFORE.get(event["type"])
        if wanted is not None and before != wanted:
            yield f"position {event['position']}: {event['type']} directly after {before}, not {wanted}"
        wanted = _DIRECTLY_AFTER.get(event["type"])
        if wanted is not None and after != wanted:
            yield f"position {event['position']}: {event['type']} directly before {after}, not {wanted}"


class _Checker:
    """What one event after the other may do, given those before."""

    def __init__(self) -> None:
        self.status = "idle"
        self.span: str | None = None
        self.parts = 0
        self.input_since_idle = False
        self.exhausted = False
        self.uses: dict[str, Event] = {}
        self.results: Counter[str] = Counter()
        self.confirmed: dict[str, str] = {}

    @property
    def open_uses(self) -> list[str]:
        return [use for use in self.uses if not self.results[use]]

    def see(self, event: Event) -> Iterator[str]:
        kind = event["type"]
        if self.status == "terminated" and kind != types.SESSION_DELETED:
            yield f"{kind} after the session was terminated"
        if self.span is not None and kind not in _WITHIN_SPANS:
            yield f"{kind} within a model request"
        if kind in _FROM and self.status not in _FROM[kind]:
            yield f"{kind} while {self.status}"
        if kind in _PARTS:
            yield from self._part(event)
        if kind in _RESULTS:
            yield from self._result(event, event.get(_RESULTS[kind], ""))
        yield from _RULES.get(kind, _nothing)(self, event)
        self.status = _TO.get(kind, self.status)
        self.input_since_idle |= kind in types.CLIENT_TYPES or kind == types.SESSION_UPDATED

    def at_rest(self, events: Sequence[Event]) -> Iterator[str]:
        if self.status not in ("idle", "terminated"):
            yield f"the session rests while {self.status}"
        waits = bool(self.open_uses)
        for event in events:
            if event["processed_at"] is None and not (
                waits and event["type"] in (types.USER_MESSAGE, types.SYSTEM_MESSAGE)
            ):
                yield f"position {event['position']}: {event['type']} was never processed"

    def _part(self, event: Event) -> Iterator[str]:
        self.parts += 1
        if self.span is None:
            yield f"{event['type']} outside a model request"
        if event["type"] in _USES:
            self.uses[event["id"]] = event

    def _result(self, event: Event, use_id: str) -> Iterator[str]:
        self.results[use_id] += 1
        use = self.uses.get(use_id)
        if use is None:
            yield f"a result for {use_id}, which was never used"
            return
        if self.results[use_id] > 1:
            yield f"result number {self.results[use_id]} for {use_id}"
        text = str((event.get("content") or [{}])[0].get("text", ""))
        if use.get("evaluated_permission") == "ask" and use_id not in self.confirmed and text != INTERRUPTED:
            yield f"{use_id} has a result, but nobody confirmed it"
        if self.confirmed.get(use_id) == "deny" and not event.get("is_error"):
            yield f"{use_id} was denied and ran"

    def request_start(self, event: Event) -> Iterator[str]:
        if self.open_uses:
            yield f"a model request while {self.open_uses} have no result"
        if self.exhausted:
            yield "a model request after an exhausted error"
        self.span, self.parts = event["id"], 0

    def request_end(self, event: Event) -> Iterator[str]:
        if event["model_request_start_id"] != self.span:
            yield f"ends {event['model_request_start_id']}, open is {self.span}"
        if event["is_error"] and self.parts:
            yield "a failed model request left events"
        self.span = None

    def error(self, event: Event) -> Iterator[str]:
        self.exhausted |= event["error"]["retry_status"]["type"] == "exhausted"
        yield from ()

    def confirmation(self, event: Event) -> Iterator[str]:
        use = self.uses.get(event["tool_use_id"])
        if use is None or use.get("evaluated_permission") != "ask":
            yield f"a confirmation of {event['tool_use_id']}, which does not ask"
        self.confirmed[event["tool_use_id"]] = event["result"]

    def idle(self, event: Event) -> Iterator[str]:
        reason = event["stop_reason"]
        if self.status == "idle" and not self.input_since_idle:
            yield "idle again without anything that came"
        named, waiting = set(reason.get("event_ids", ())), set(self.open_uses)
        # What is confirmed waits for the rest to be settled, or for a worker of the client.
        if not (waiting - self.confirmed.keys() <= named <= waiting) or (waiting and not named):
            yield f"{reason} while {self.open_uses} have no result"
        if (reason["type"] == "requires_action") != bool(reason.get("event_ids")):
            yield f"{reason} names nothing to do"
        if self.exhausted and reason["type"] != "retries_exhausted":
            yield f"{reason} after an exhausted error"
        if (event["stop_details"] is not None) != (reason["type"] == "refusal"):
            yield f"stop_details {event['stop_details']} of {reason}"
        self.exhausted = self.input_since_idle = False


def _nothing(_: _Checker, __: Event) -> Iterator[str]:
    yield from ()


_RULES: Mapping[str, Callable[[_Checker, Event], Iterator[str]]] = {
    types.REQUEST_START: _Checker.request_start,
    types.REQUEST_END: _Checker.request_end,
    types.SESSION_ERROR: _Checker.error,
    types.USER_TOOL_CONFIRMATION: _Checker.confirmation,
    types.STATUS_IDLE: _Checker.idle,
}
