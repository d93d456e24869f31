"""What a log says about its session, kept event by event: the pure fold behind every summary.

The projection of a log is the fold of its events in order and of nothing else, so it can be thrown away and made
again at any time; it is stored only so that nobody has to read a log to its start.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import orjson

from managed_agents.contracts import causes, limits
from managed_agents.contracts.events import types

Status = Literal["idle", "running", "rescheduling", "terminated"]
Pending = Literal["ask", "custom", "tool"]
"""What a tool use waits for: a confirmation, the result of a custom tool, or of a tool that a client's worker runs."""

Changes = dict[str, Any]

VERSION = 4
"""Raised with every change of shape or meaning: a stored projection of another version is folded anew."""

INPUT_EXCERPT_CHARS_MAX = 200
"""A pending call's input is shown up to here, so that a status stays small in etcd."""

_OPEN: frozenset[Status] = frozenset({"running", "rescheduling"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """One event on its way into a projection.

    `at` is its `processed_at`, empty while it has none. `client`: a client sent it; `on_receipt`: nobody need act.
    """

    position: int
    at: str
    event: Mapping[str, Any]
    internal: Mapping[str, Any] | None = None
    client: bool = False
    on_receipt: bool = False


class Projection(NamedTuple):
    """The state of a session as its log tells it; a tuple, for each event makes one.

    `pending` maps the id of each tool use that waits for a client to `{"kind": Pending, "tool", "input_excerpt"}`, and
    `then` where it waits for something else once it is allowed; `required` are the ids that the last idle event named.
    Heads are positions, 0 for none: `client_head` of the last client event, `input_head` of the last event that wants
    a harness (a client's, or a budget changed at its cap), `idle_head` of the last `session.status_idle`. `last_at` is
    the newest `processed_at` of the log: the next is never older. `turns` counts the idle events.
    """

    head: int = 0
    status: Status = "idle"
    status_since: str = ""
    stop_reason: Mapping[str, Any] | None = None
    required: tuple[str, ...] = ()
    pending: Mapping[str, Mapping[str, str]] = MappingProxyType({})
    usage: Mapping[str, Any] | None = None
    last_message: Mapping[str, Any] | None = None
    last_error: Mapping[str, Any] | None = None
    budget_reached: bool = False
    client_head: int = 0
    input_head: int = 0
    idle_head: int = 0
    last_at: str = ""
    turns: int = 0

    @property
    def wanted(self) -> bool:
        """Tell whether a harness is needed: a turn is open, or input lies after the last idle event."""
        return self.status in _OPEN or (self.status != "terminated" and self.input_head > self.idle_head)

    @property
    def requires_action(self) -> tuple[str, ...]:
        """Return the ids named by the last idle event that still wait for a client."""
        return tuple(event_id for event_id in self.required if event_id in self.pending)


def fold(projection: Projection, folded: Folded) -> Projection:
    """Return the projection after one more event; unknown types move the head only."""
    changes: Changes = {"head": folded.position, "last_at": max(projection.last_at, folded.at)}
    if folded.client:
        changes["client_head"] = folded.position
        if not (folded.on_receipt and folded.event["type"] == types.USER_INTERRUPT):
            changes["input_head"] = folded.position
    rule = _RULES.get(folded.event["type"])
    if rule is not None:
        changes |= rule(projection, folded)
    return projection._replace(**changes)


def cut_text(text: str, bytes_max: int) -> tuple[str, bool]:
    """Cut a text at a byte length, on a character boundary; the flag tells whether anything was cut."""
    encoded = text.encode()
    if len(encoded) <= bytes_max:
        return text, False
    return encoded[:bytes_max].decode(errors="ignore"), True


def _status(projection: Projection, folded: Folded, status: Status) -> Changes:
    since = projection.status_since if projection.status == status else folded.at
    return {"status": status, "status_since": since, "stop_reason": None, "required": (), "budget_reached": False}


def _running(projection: Projection, folded: Folded) -> Changes:
    return _status(projection, folded, "running") | {"last_error": None}


def _rescheduled(projection: Projection, folded: Folded) -> Changes:
    return _status(projection, folded, "rescheduling")


def _idle(projection: Projection, folded: Folded) -> Changes:
    reason = folded.event.get("stop_reason") or {"type": "end_turn"}
    return _status(projection, folded, "idle") | {
        "status_since": folded.at,
        "stop_reason": reason,
        "required": tuple(reason.get("event_ids") or ()),
        "budget_reached": reason["type"] == "budget_reached",
        "idle_head": folded.position,
        "turns": projection.turns + 1,
    }


def _terminated(projection: Projection, folded: Folded) -> Changes:
    return _status(projection, folded, "terminated") | {"pending": {}}


def _usage(_: Projection, folded: Folded) -> Changes:
    return {"usage": folded.event.get("usage")}


def message_of(folded: Folded) -> Mapping[str, Any]:
    """Return what a summary shows of an `agent.message`."""
    blocks = folded.event.get("content") or ()
    text = "\n".join(block["text"] for block in blocks if block.get("type") == "text")
    shown, truncated = cut_text(text, limits.LAST_MESSAGE_BYTES_MAX)
    return {"text": shown, "truncated": truncated, "position": folded.position}


def _message(_: Projection, folded: Folded) -> Changes:
    return {"last_message": message_of(folded)}


def _error(_: Projection, folded: Folded) -> Changes:
    error = folded.event.get("error") or {}
    error_type = error.get("type", "unknown_error")
    return {
        "last_error": {
            "type": error_type,
            "reason": causes.reason_for(error_type, (folded.internal or {}).get("reason")),
            "message": error.get("message", ""),
            "retry_status": (error.get("retry_status") or {}).get("type"),
            "position": folded.position,
        }
    }


def _request_end(_: Projection, folded: Folded) -> Changes:
    return {} if folded.event.get("is_error") else {"last_error": None}


def _used(projection: Projection, folded: Folded) -> Changes:
    runs_at_client = bool((folded.internal or {}).get("client"))
    match folded.event.get("evaluated_permission"):
        case "ask":
            return _open(projection, folded, "ask", then="tool" if runs_at_client else None)
        case "allow" if runs_at_client:
            return _open(projection, folded, "tool")
        case _:
            return {}


def _custom(projection: Projection, folded: Folded) -> Changes:
    return _open(projection, folded, "custom")


def _open(projection: Projection, folded: Folded, kind: Pending, *, then: Pending | None = None) -> Changes:
    excerpt = orjson.dumps(folded.event.get("input") or {}).decode()[:INPUT_EXCERPT_CHARS_MAX]
    entry = {"kind": kind, "tool": str(folded.event.get("name", "")), "input_excerpt": excerpt}
    return {"pending": {**projection.pending, folded.event["id"]: entry | ({"then": then} if then else {})}}


def _confirmed(projection: Projection, folded: Folded) -> Changes:
    use = folded.event.get("tool_use_id", "")
    entry = dict(projection.pending.get(use) or {})
    if "then" not in entry or folded.event.get("result") != "allow":
        return _settled(projection, folded)
    return {"pending": {**projection.pending, use: entry | {"kind": entry.pop("then")}}}


def _settled(projection: Projection, folded: Folded) -> Changes:
    settled = {folded.event.get(key) for key in ("tool_use_id", "custom_tool_use_id", "mcp_tool_use_id")}
    if settled.isdisjoint(projection.pending):
        return {}
    return {"pending": {key: entry for key, entry in projection.pending.items() if key not in settled}}


def _updated(projection: Projection, folded: Folded) -> Changes:
    """A budget that changes at its cap lets the paused turn go on, and somebody must see to it."""
    if "budget" not in folded.event or not projection.budget_reached:
        return {}
    return {"budget_reached": False, "input_head": folded.position}


_RULES: Mapping[str, Callable[[Projection, Folded], Changes]] = {
    types.STATUS_RUNNING: _running,
    types.STATUS_RESCHEDULED: _rescheduled,
    types.STATUS_IDLE: _idle,
    types.STATUS_TERMINATED: _terminated,
    types.SESSION_USAGE: _usage,
    types.SESSION_ERROR: _error,
    types.SESSION_UPDATED: _updated,
    types.REQUEST_END: _request_end,
    types.AGENT_MESSAGE: _message,
    types.AGENT_TOOL_USE: _used,
    "agent.mcp_tool_use": _used,
    types.AGENT_CUSTOM_TOOL_USE: _custom,
    types.AGENT_TOOL_RESULT: _settled,
    "agent.mcp_tool_result": _settled,
    types.USER_TOOL_CONFIRMATION: _confirmed,
    types.USER_CUSTOM_TOOL_RESULT: _settled,
    types.USER_TOOL_RESULT: _settled,
}
