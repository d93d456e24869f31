"""What a session accepts of its clients at this moment: rules on its config and on its log (API reference §5.2).

`paths` names each event of a request in messages; both lists run in parallel.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from managed_agents.contracts.errors import RejectedError
from managed_agents.contracts.events import types
from managed_agents.contracts.ids import SessionId, primary_thread_id_for
from managed_agents.eventlog.projection import Pending, Projection
from managed_agents.eventlog.store import Admit

AT_BUDGET = (types.USER_TOOL_CONFIRMATION, types.USER_TOOL_RESULT, types.USER_CUSTOM_TOOL_RESULT, types.USER_INTERRUPT)

SYSTEM_UNSUPPORTED = "model_does_not_support_mid_conversation_system"

_WITHOUT_SYSTEM = re.compile(
    r"(?:^|[./])claude-(?:(?:opus|sonnet|haiku)-4(?:-[0-7])?|sonnet-5|(?:[123]|instant)[0-9a-z.-]*?)"
    r"(?:[@-]\d{8}(?:-v\d+(?::\d+)?)?)?$"
)
"""Models of the reference's list that take no system turns; ids that it does not know count as taking them."""

_COMPANIONS = frozenset({types.USER_MESSAGE, types.USER_TOOL_RESULT, types.USER_CUSTOM_TOOL_RESULT})
_PENDING_WORDS: Mapping[Pending, str] = {
    "ask": "tool use that waits for a confirmation",
    "custom": "custom tool use that waits for its result",
    "tool": "tool use that waits for its result",
}


def needs_config(events: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether `check_config` has anything to say about these events."""
    return any(event["type"] in (types.SYSTEM_MESSAGE, types.USER_TOOL_RESULT) for event in events)


def check_config(config: Mapping[str, Any], events: Sequence[Mapping[str, Any]], paths: Sequence[str]) -> None:
    """Refuse what the session's model or environment does not take. Raises: RejectedError."""
    for event, path in zip(events, paths, strict=True):
        if event["type"] == types.SYSTEM_MESSAGE:
            _require_system_turns(config["agent"]["model"]["id"], path)
        if event["type"] == types.USER_TOOL_RESULT:
            _require_self_hosted(config["environment"]["config"], path)


def takes_system_turns(model: str) -> bool:
    """Tell whether a model accepts system turns within the conversation; unknown ids count as accepting."""
    return _WITHOUT_SYSTEM.search(model) is None


def admit_for(
    session: SessionId, events: Sequence[Mapping[str, Any]], paths: Sequence[str], *, before: str | None = None
) -> Admit:
    """Return the rules that depend on what the session is doing; they run in the commit that stores the events.

    `before` is the type of the client event that these events follow, when they are sent one by one.
    """

    def admit(projection: Projection, event: Mapping[str, Any], index: int) -> bool:
        path = paths[index]
        _require_open(projection, event, path)
        match event["type"]:
            case types.USER_INTERRUPT:
                _require_thread(session, event, path)
                return projection.status == "idle" and not projection.requires_action and not projection.wanted
            case types.USER_TOOL_CONFIRMATION:
                _require_pending(projection, event, path, "tool_use_id", "ask")
                return False
            case types.USER_CUSTOM_TOOL_RESULT:
                _require_pending(projection, event, path, "custom_tool_use_id", "custom")
                return True
            case types.USER_TOOL_RESULT:
                _require_pending(projection, event, path, "tool_use_id", "tool")
                return True
            case types.SYSTEM_MESSAGE:
                companion = events[index - 1]["type"] if index else before
                _require_companion(projection, companion, index == len(events) - 1, path)
                return False
            case _:
                return event["type"] in types.PROCESSED_ON_RECEIPT

    return admit


def _require_open(projection: Projection, event: Mapping[str, Any], path: str) -> None:
    if projection.status == "terminated":
        raise RejectedError(f"{path}: the session is terminated; it takes no more events", reason="Terminated")
    if projection.budget_reached and event["type"] not in AT_BUDGET:
        allowed = ", ".join(AT_BUDGET)
        raise RejectedError(
            f"{path}.type: the session's budget is reached; it accepts only {allowed}",
            reason="BudgetReached",
            field=f"{path}.type",
        )


def _require_thread(session: SessionId, event: Mapping[str, Any], path: str) -> None:
    named, primary = event.get("session_thread_id"), primary_thread_id_for(session)
    if named not in (None, primary):
        field = f"{path}.session_thread_id"
        raise RejectedError(f"{field}: this session's only thread is {primary}", field=field)


def _require_pending(projection: Projection, event: Mapping[str, Any], path: str, key: str, kind: Pending) -> None:
    entry = projection.pending.get(event[key])
    if entry is not None and entry["kind"] == kind:
        return
    waiting = [event_id for event_id, other in projection.pending.items() if other["kind"] == kind]
    hint = f"waiting: {', '.join(waiting)}" if waiting else "none is waiting"
    field = f"{path}.{key}"
    message = f"{field}: {event[key]} names no {_PENDING_WORDS[kind]} ({hint})"
    raise RejectedError(message, reason="NotPending", field=field)


def _require_companion(projection: Projection, companion: str | None, is_last: bool, path: str) -> None:
    if not is_last:
        raise RejectedError(f"{path}: a system.message must be the last event of its request", field=path)
    if companion not in _COMPANIONS:
        allowed = "user.message, user.tool_result or user.custom_tool_result"
        found = companion or "nothing"
        raise RejectedError(f"{path}: a system.message must directly follow a {allowed}; found {found}", field=path)
    if projection.requires_action and companion == types.USER_MESSAGE:
        message = f"{path}: while the session requires action, a system.message must directly follow a tool result"
        raise RejectedError(message, field=path)


def _require_system_turns(model: str, path: str) -> None:
    if not takes_system_turns(model):
        raise RejectedError(
            f"{path}.type: the model {model} does not support system messages within a conversation",
            reason="NotSupported",
            field=f"{path}.type",
            error_code=SYSTEM_UNSUPPORTED,
        )


def _require_self_hosted(environment: Mapping[str, Any], path: str) -> None:
    found = environment.get("type", "cloud")
    if found != "self_hosted":
        raise RejectedError(
            f"{path}.type: user.tool_result is accepted only in a self_hosted environment; this one is {found}",
            field=f"{path}.type",
        )
