"""A call from its intent to its result, on any hand: whatever happens, the model gets one result (I5, I6)."""

from managed_agents.harness.history.state import ToolUse
from managed_agents.harness.tools.hand import (
    Call,
    Finished,
    Hand,
    HandLostError,
    HandNotProvisionedError,
    HandUnavailableError,
    HandUnreachableError,
    Lookup,
    NeverSeen,
    ToolResult,
    error_result,
)

_UNKNOWN_IN_LOST = (
    "sandbox lost: the sandbox in which this call may have run is gone; whether it took effect is unknown. "
    "Files outside /workspace are lost."
)


FIRST_GENERATION = 1
"""A session's first sandbox (docs/internal-api.md, `sandbox.generation`)."""


async def perform(
    hand: Hand, use: ToolUse, *, recovers: bool, last_generation: int | None, place: str = "sandbox"
) -> ToolResult:
    """Run a call and return its result; faults of the hand are error results.

    With `recovers` a predecessor may have started it: the hand's journal is asked before anything runs.
    `last_generation` is the newest generation that the log knows of, `place` what the model is to call the hand.
    """
    call = Call(id=use.id, name=use.name, input=use.input)
    try:
        if recovers:
            return await _recover(hand, call, use.sandbox, last_generation)
        return await _run(hand, call)
    except HandUnavailableError as error:
        return error_result(f"{place} not ready: {error.message} The call did not run.")
    except HandLostError as error:
        return error_result(f"{place} lost: {error.reason}: {error.message}")
    except HandUnreachableError as error:
        return error_result(f"{place} unreachable, outcome unknown: {error.message}")


async def _run(hand: Hand, call: Call) -> ToolResult:
    generation = await hand.provision()
    try:
        return await hand.execute(call)
    except HandNotProvisionedError:
        # The proxy was restarted and may have sent the call on before: only the same sandbox can tell.
        if await hand.provision() != generation:
            return error_result(_UNKNOWN_IN_LOST)
        return await hand.execute(call)


async def _recover(hand: Hand, call: Call, sandbox: int | None, last_generation: int | None) -> ToolResult:
    match await _look_up(hand, call):
        case Finished(result=result):
            return result
        case NeverSeen() if not _is_same(await hand.provision(), sandbox, last_generation):
            return error_result(_UNKNOWN_IN_LOST)
        case _:
            return await _run(hand, call)


async def _look_up(hand: Hand, call: Call) -> Lookup:
    try:
        return await hand.lookup(call.id)
    except HandNotProvisionedError:
        await hand.provision()
        return await hand.lookup(call.id)


def _is_same(generation: int, sandbox: int | None, last_generation: int | None) -> bool:
    """Tell whether this sandbox is the only one in which the call can have been started.

    Without a note of its own, the call was to start in the sandbox of the calls before it, or in the very first one.
    """
    if sandbox is not None:
        return generation == sandbox
    return generation == (last_generation or FIRST_GENERATION)
