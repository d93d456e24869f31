"""The fold: one logged event into the state, a small rule for each type.

Rules read an event's immutable part only, never the `processed_at` of a message, which is stamped later: what was
processed, and when, stands in the `internal.processed` of the event that processed it. So a log read back gives the
state, and the bytes of the next request, that its writer had.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from managed_agents.contracts.clock import parse_rfc3339
from managed_agents.contracts.events import types
from managed_agents.harness.history.repair import Block, tool_result
from managed_agents.harness.history.state import END_TURN, Decision, Ending, Event, State, ToolUse
from managed_agents.harness.mcp.names import model_name

CONTINUE_AFTER_CUT = (
    "[The previous response reached the limit of output tokens and was cut off there. Text up to that point was kept; "
    "a tool call that was not complete did not run. Continue from that point.]"
)
"""Shown to the model in place of a user's message, so that a cut response goes on."""

TRUNCATIONS_MAX = 3
"""Cut responses in a row that are continued; then the turn ends with what there is."""

FINAL_STOPS = frozenset({"end_turn", "retries_exhausted", "refusal"})
"""Stop reasons after which the model owes nothing until new input comes."""


def fold(state: State, events: Iterable[Event]) -> State:
    """Fold events, in the order of their positions and without gap, into the state and return it."""
    for event in events:
        apply(state, event)
    return state


def apply(state: State, event: Event) -> None:
    """Fold one event. Unknown types move the head only."""
    state.head = event["position"]
    state.last_at = event.get("processed_at") or state.last_at
    internal = event.get("internal") or {}
    if "sandbox" in internal:
        state.sandbox = internal["sandbox"]
    rule = _RULES.get(event["type"])
    if rule is not None:
        rule(state, event, internal)
    for event_id in internal.get("processed", ()):
        state.inbox.pop(event_id, None)
        state.loose.discard(event_id)
    state.last_type = event["type"]


Internal = Mapping[str, Any]


def _message(state: State, event: Event, _: Internal) -> None:
    state.stirred = True
    state.inbox[event["id"]] = event


def _system_message(state: State, event: Event, internal: Internal) -> None:
    if state.last_type != types.USER_MESSAGE:
        state.loose.add(event["id"])
    _message(state, event, internal)


def _interrupt(state: State, event: Event, _: Internal) -> None:
    # Processed on receipt means that the session was idle and that nobody need act.
    if event.get("processed_at") is None or state.turn_open or state.uses:
        state.stirred = True
        state.inbox[event["id"]] = event


def _confirmation(state: State, event: Event, _: Internal) -> None:
    state.stirred = True
    state.inbox[event["id"]] = event
    use = state.uses.get(event["tool_use_id"])
    if use is not None and use.permission == "ask" and use.decision is None:
        decision = Decision(allowed=event.get("result") == "allow", message=event.get("deny_message"))
        state.uses[use.id] = replace(use, decision=decision)


def _custom_result(state: State, event: Event, _: Internal) -> None:
    state.stirred = True
    _settle(state, event["custom_tool_use_id"], event)


def _client_result(state: State, event: Event, _: Internal) -> None:
    state.stirred = True
    _settle(state, event["tool_use_id"], event)


def _tool_result(state: State, event: Event, internal: Internal) -> None:
    if "web_searches" in internal:
        state.usage = state.usage.add({"server_tool_use": {"web_search_requests": internal["web_searches"]}})
    _settle(state, event["tool_use_id"], event)


def _mcp_result(state: State, event: Event, _: Internal) -> None:
    _settle(state, event["mcp_tool_use_id"], event)


def _settle(state: State, use_id: str, event: Event) -> None:
    if state.uses.pop(use_id, None) is not None:
        result = tool_result(use_id, event.get("content"), is_error=bool(event.get("is_error")))
        state.conversation.answer(use_id, result)
        state.owes_answer = True


def _running(state: State, event: Event, internal: Internal) -> None:
    state.rescheduled = False
    if state.turn_open:
        return
    state.turn_open, state.turn_opened_at = True, event["processed_at"]
    state.turns += 1
    # A call that waited for a client may start only now, and in the sandbox of now.
    for use in state.uses.values():
        state.uses[use.id] = replace(use, position=event["position"], sandbox=internal.get("sandbox"))


def _request_start(state: State, event: Event, internal: Internal) -> None:
    state.span, state.retry_seconds = event["id"], 0.0
    state.response = []
    for waiting in _processed(state, internal):
        if waiting["type"] == types.USER_MESSAGE:
            state.conversation.say(waiting["content"])
            state.owes_answer, state.rounds, state.truncations = True, 0, 0
    _take_in_systems(state, internal)


def _processed(state: State, internal: Internal) -> list[Event]:
    return [state.inbox[event_id] for event_id in internal.get("processed", ()) if event_id in state.inbox]


def _take_in_systems(state: State, internal: Internal) -> None:
    for waiting in _processed(state, internal):
        if waiting["type"] == types.SYSTEM_MESSAGE:
            state.conversation.instruct(waiting["content"])


def _part(state: State, event: Event, _: Internal) -> None:
    state.response.append(event)


def _request_end(state: State, event: Event, internal: Internal) -> None:
    model_usage = event.get("model_usage") or {}
    state.usage = state.usage.add(model_usage)
    response, state.response, state.span = state.response, [], None
    if event.get("is_error"):
        state.abandoned += bool(internal.get("abandoned"))
        state.overflowed = state.overflowed or bool(internal.get("overflow"))
        state.compaction_failures += bool(internal.get("compaction"))
        return
    state.retries = state.abandoned = 0
    if internal.get("compaction"):
        return
    state.overflowed, state.compactions, state.compaction_failures = False, 0, 0
    state.context_tokens = sum(model_usage.get(counter) or 0 for counter in _CONTEXT_COUNTERS)
    state.owes_answer = False
    _END_RULES.get(internal.get("stop_reason", ""), _answered)(state, response, internal)


def _compacted(state: State, _: Event, internal: Internal) -> None:
    context = internal.get("context")
    if context is None:
        return
    state.conversation = state.conversation.successor(context)
    state.context_tokens = int(internal.get("tokens") or 0)
    state.overflowed, state.compaction_failures = False, 0
    state.compactions += 1


def _answered(state: State, response: list[Event], _: Internal) -> None:
    state.truncations = 0
    state.conversation.respond(_block_of(event) for event in response)
    uses = [_use_of(event) for event in response if event["type"] in _USE_TYPES]
    state.uses = {use.id: use for use in uses}
    state.rounds += bool(uses)
    state.ending = END_TURN


def _cut(state: State, response: list[Event], internal: Internal) -> None:
    truncations = state.truncations + 1
    _answered(state, response, internal)
    state.truncations = truncations
    if not state.uses and state.truncations <= TRUNCATIONS_MAX:
        state.conversation.say([{"type": "text", "text": CONTINUE_AFTER_CUT}])
        state.owes_answer = True


def _refused(state: State, _: list[Event], internal: Internal) -> None:
    state.conversation.withdraw()
    state.ending = Ending(stop_reason={"type": "refusal"}, stop_details=internal.get("stop_details"))


def _error(state: State, event: Event, internal: Internal) -> None:
    if internal.get("aside"):  # of something beside the model requests, which goes on
        return
    status = event["error"]["retry_status"]["type"]
    if status == "retrying":
        state.retries += 1
        state.retry_seconds = internal.get("delay_seconds", 0.0)
    else:
        state.exhausted_at = event["position"]
    if internal.get("withdraw"):
        state.conversation.withdraw(systems=True)


def _rescheduled(state: State, _: Event, __: Internal) -> None:
    state.rescheduled = True


def _idle(state: State, event: Event, internal: Internal) -> None:
    if state.turn_open:
        state.closed_seconds += elapsed_seconds(state.turn_opened_at, event["processed_at"])
    state.turn_open = state.stirred = state.rescheduled = state.overflowed = False
    state.exhausted_at = state.retries = state.abandoned = state.rounds = state.truncations = 0
    state.compactions = state.compaction_failures = 0
    state.retry_seconds = 0.0
    reason = event["stop_reason"]["type"]
    state.at_budget = reason == "budget_reached"
    if reason != "retries_exhausted":  # which flushes what waits
        _take_in_systems(state, internal)
    if reason in FINAL_STOPS:
        state.owes_answer, state.ending = False, END_TURN


def _updated(state: State, event: Event, _: Internal) -> None:
    if "budget" in event:
        state.updates["budget"] = event["budget"]
        state.stirred = state.stirred or state.at_budget


def _ended(state: State, _: Event, __: Internal) -> None:
    state.ended, state.turn_open = True, False


def elapsed_seconds(since: str, until: str) -> float:
    """Return the seconds between two stamps of one server; never negative."""
    return max(0.0, (parse_rfc3339(until) - parse_rfc3339(since)).total_seconds())


def active_seconds(state: State) -> float:
    """Return how long turns of this session were open, up to the newest stamp of its log."""
    running = elapsed_seconds(state.turn_opened_at, state.last_at) if state.turn_open else 0.0
    return state.closed_seconds + running


def _block_of(event: Event) -> Block:
    match event["type"]:
        case types.AGENT_THINKING:
            return dict(event["internal"]["block"])
        case types.AGENT_MESSAGE:
            citations = (event.get("internal") or {}).get("citations")
            cited = {"citations": citations} if citations else {}
            return {"type": "text", "text": event["content"][0]["text"], **cited}
        case types.AGENT_MCP_TOOL_USE:
            name = model_name(event["mcp_server_name"], event["name"])
            return {"type": "tool_use", "id": event["id"], "name": name, "input": event["input"]}
        case _:
            return {"type": "tool_use", "id": event["id"], "name": event["name"], "input": event["input"]}


def _use_of(event: Event) -> ToolUse:
    internal = event.get("internal") or {}
    custom = event["type"] == types.AGENT_CUSTOM_TOOL_USE
    return ToolUse(
        id=event["id"],
        name=event["name"],
        input=event["input"],
        position=event["position"],
        permission="custom" if custom else event.get("evaluated_permission", "allow"),
        problem=internal.get("problem"),
        sandbox=internal.get("sandbox"),
        client=bool(internal.get("client")),
        server=event.get("mcp_server_name"),
    )


_CONTEXT_COUNTERS = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")

_USE_TYPES = frozenset({types.AGENT_TOOL_USE, types.AGENT_CUSTOM_TOOL_USE, types.AGENT_MCP_TOOL_USE})

_END_RULES: Mapping[str, Callable[[State, list[Event], Internal], None]] = MappingProxyType(
    {"max_tokens": _cut, "model_context_window_exceeded": _cut, "refusal": _refused}
)

_RULES: Mapping[str, Callable[[State, Event, Internal], None]] = MappingProxyType(
    {
        types.USER_MESSAGE: _message,
        types.SYSTEM_MESSAGE: _system_message,
        types.USER_INTERRUPT: _interrupt,
        types.USER_TOOL_CONFIRMATION: _confirmation,
        types.USER_CUSTOM_TOOL_RESULT: _custom_result,
        types.USER_TOOL_RESULT: _client_result,
        types.AGENT_TOOL_RESULT: _tool_result,
        types.AGENT_MCP_TOOL_RESULT: _mcp_result,
        types.STATUS_RUNNING: _running,
        types.STATUS_RESCHEDULED: _rescheduled,
        types.STATUS_IDLE: _idle,
        types.STATUS_TERMINATED: _ended,
        types.SESSION_DELETED: _ended,
        types.SESSION_UPDATED: _updated,
        types.CONTEXT_COMPACTED: _compacted,
        types.SESSION_ERROR: _error,
        types.REQUEST_START: _request_start,
        types.AGENT_THINKING: _part,
        types.AGENT_MESSAGE: _part,
        types.AGENT_TOOL_USE: _part,
        types.AGENT_CUSTOM_TOOL_USE: _part,
        types.AGENT_MCP_TOOL_USE: _part,
        types.REQUEST_END: _request_end,
    }
)
