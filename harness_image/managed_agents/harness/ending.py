"""Going idle: the end of a turn, and the end of one whose log is too large to be worked on (guarantee F10)."""

from managed_agents.contracts import causes
from managed_agents.harness.events import EventWriter
from managed_agents.harness.log import SessionLog
from managed_agents.harness.step import INTERRUPTED, Finish, exhausted
from managed_agents.harness.tools.hand import error_result

TOO_LARGE = "The session's log could not be read within the harness's memory, time after time."


async def finish(log: SessionLog, write: EventWriter, step: Finish) -> None:
    """Write down a turn's end; input that arrived meanwhile refuses it, and keeps the turn open."""
    state, interrupted = log.state, error_result(INTERRUPTED)
    closing = [write.tool_result(use, interrupted) for use in step.closes]
    idle = write.idle(state, step.thread, step.session, step.settles)
    events = [*write.abandoned(state), *closing, *idle, *(write.opening() if step.reopens else [])]
    await log.append(events, processed=step.settles, expected_head=state.head)


async def give_up(log: SessionLog, write: EventWriter) -> None:
    """End what the log has open with an error, then wait: return once there is something to try again for."""
    state = log.state
    while not state.ended and (state.turn_open or state.stirred):
        if state.exhausted_at:
            await finish(log, write, exhausted(state))
        else:
            await log.append([*write.abandoned(state), write.exhausted(causes.UNKNOWN, TOO_LARGE)])
    await log.until(lambda: state.ended or state.turn_open or state.stirred)
