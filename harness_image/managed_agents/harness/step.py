"""What to do next: a closed union, decided from the log and the session's config and from nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from managed_agents.contracts import causes
from managed_agents.contracts.causes import Cause
from managed_agents.contracts.events import types
from managed_agents.harness.history.compaction import CompactionPolicy, Summarize
from managed_agents.harness.history.fold import active_seconds
from managed_agents.harness.history.state import END_TURN, Ending, State, ToolUse
from managed_agents.harness.session import Session
from managed_agents.harness.settings import Settings

INTERRUPTED = "Tool execution was interrupted before completion. Please retry."
"""Closes a call that an interrupt stopped (API reference §6.3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Ask the model, after a delay, with the waiting messages of these ids."""

    inputs: Sequence[str] = ()
    delay_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Compact:
    """Make the conversation smaller, after a delay: it nears the end of the model's window."""

    delay_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTool:
    """Run a call in the sandbox. Its result settles the confirmations of these ids."""

    use: ToolUse
    settles: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """Answer a call with an error, without running it, which settles the confirmations of these ids."""

    use: ToolUse
    message: str
    settles: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """Open the turn again: what a client was asked for is there. Confirmations of these ids are processed."""

    confirmations: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fail:
    """Write down a failure that ends the turn. `withdraws`: what users said last is at fault and is taken back."""

    cause: Cause
    message: str
    withdraws: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """Go idle. `closes` are calls that get an error result; `settles` client events that count as processed.

    `thread` and `session` differ where a turn ends by itself with the request that crosses the budget. With `reopens`
    messages wait and the next turn opens in the same commit, so that no instant exists at which nobody is responsible.
    """

    thread: Ending
    session: Ending
    closes: Sequence[ToolUse] = ()
    settles: Sequence[str] = ()
    reopens: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Nothing to do until something arrives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Nothing to do ever again."""


DEFAULT_POLICY = Summarize()

Step = Sample | Compact | RunTool | Reject | Resume | Fail | Finish | Wait | Stop

_BUDGET_REACHED = Ending(stop_reason={"type": "budget_reached"})
_RETRIES_EXHAUSTED = Ending(stop_reason={"type": "retries_exhausted"})


def next_step(state: State, session: Session, settings: Settings, policy: CompactionPolicy = DEFAULT_POLICY) -> Step:
    """Decide: failures and interrupts come first, then open calls, then the model, then the turn's end."""
    if state.ended:
        return Stop()
    if state.exhausted_at:
        return exhausted(state)
    if state.interrupted:
        return _interrupted(state)
    if state.uses:
        return _next_call(state)
    if state.owes_answer or (state.messages and state.ending == END_TURN):
        return _ask(state, session, settings) or _compact(state, session, settings, policy) or _sample(state)
    return _end(state, session)


def exhausted(state: State) -> Finish:
    """End the turn and flush what waited when it failed; a message that came later is a new prompt."""
    later = [event["id"] for event in state.messages if event["position"] > state.exhausted_at]
    settles = [event_id for event_id in state.inbox if event_id not in later]
    return _finish(_RETRIES_EXHAUSTED, closes=[*state.uses.values()], settles=settles, reopens=bool(later))


def _interrupted(state: State) -> Finish:
    reopens = bool(state.messages)
    return _finish(END_TURN, closes=[*state.uses.values()], settles=state.others, reopens=reopens)


def _next_call(state: State) -> Step:
    """Calls that need nobody run first; those that a client allowed or denied wait until all are settled."""
    for use in state.uses.values():
        if use.permission in ("allow", "deny") and not use.waits_for_client:
            return _call(use)
    blocking = [use.id for use in state.uses.values() if use.waits_for_client]
    confirmations = [event["id"] for event in state.inbox.values() if event["type"] == types.USER_TOOL_CONFIRMATION]
    if blocking:
        return _rest(state, Ending(stop_reason={"type": "requires_action", "event_ids": blocking}))
    if not state.turn_open:
        return Resume(confirmations=confirmations)
    return replace(_call(next(iter(state.uses.values()))), settles=confirmations)


def _call(use: ToolUse) -> RunTool | Reject:
    if use.problem is not None:
        return Reject(use=use, message=use.problem)
    if use.permission == "deny":
        return Reject(use=use, message=f"Tool {use.name} is not enabled in this session.")
    if use.decision is not None and not use.decision.allowed:
        return Reject(use=use, message=use.decision.message or f"Permission to use {use.name} has been denied.")
    return RunTool(use=use)


def _ask(state: State, session: Session, settings: Settings) -> Step | None:
    """Say what forbids another model request, if anything does."""
    if _is_over_budget(state, session):
        ending = _BUDGET_REACHED if state.owes_answer else state.ending
        return _rest(state, ending, session=_BUDGET_REACHED)
    if state.rounds >= settings.tool_rounds_max:
        limit = f"The model called tools in {state.rounds} responses in a row; the limit is {settings.tool_rounds_max}."
        return Fail(cause=causes.TOOL_USE_LIMIT, message=limit)
    if state.abandoned >= settings.abandoned_max:
        deaths = f"The harness died {state.abandoned} times during this model request."
        return Fail(cause=causes.UNKNOWN, message=deaths)
    return None


def _compact(state: State, session: Session, settings: Settings, policy: CompactionPolicy) -> Step | None:
    if not policy.is_due(state, window_tokens=session.window_tokens):
        return None
    attempts = max(state.compactions, state.compaction_failures)
    if attempts >= settings.compactions_max or state.conversation.is_fresh:
        message = f"The conversation exceeds the context window of {session.model['id']} and cannot be made smaller."
        return Fail(cause=causes.COMPACTION_LIMIT, message=message, withdraws=state.overflowed)
    return Compact(delay_seconds=state.retry_seconds)


def _sample(state: State) -> Sample:
    # Messages that came while the turn ran wait until the model has answered what it owes.
    taken = state.remarks if state.owes_answer else [*state.remarks, *state.messages]
    return Sample(inputs=[event["id"] for event in taken], delay_seconds=state.retry_seconds)


def _is_over_budget(state: State, session: Session) -> bool:
    return session.is_over_budget(state.usage, active_seconds=active_seconds(state))


def _end(state: State, session: Session) -> Step:
    if state.turn_open and _is_over_budget(state, session):
        return _rest(state, state.ending, session=_BUDGET_REACHED)
    return _rest(state, state.ending, reopens=bool(state.messages))


def _rest(state: State, ending: Ending, **rest: Any) -> Finish | Wait:
    """Go idle, or stay idle if everything that came since has been said."""
    if not (state.turn_open or state.stirred):
        return Wait()
    return _finish(ending, settles=state.others, **rest)


def _finish(ending: Ending, *, session: Ending | None = None, **rest: Any) -> Finish:
    return Finish(thread=ending, session=session or ending, **rest)
