"""A steady load: each session takes a turn with a tool call in its own rhythm, and is followed by its stream."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from anthropic import AnthropicError, AsyncAnthropic

from support.cluster import script

TURN_SECONDS_MAX = 60.0


@dataclass(kw_only=True)
class Tally:
    """What the turns came to since it was last taken."""

    milliseconds: list[float] = field(default_factory=list)
    failed: int = 0

    def take(self) -> "Tally":
        """Return what was counted, and begin anew."""
        taken = Tally(milliseconds=self.milliseconds, failed=self.failed)
        self.milliseconds, self.failed = [], 0
        return taken


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A turn that did not end as it should."""

    session: str
    turn: int
    reason: str


Tell = Callable[[Failure], None]


async def live(
    client: AsyncAnthropic, session: str, *, period: float, ends_at: float, tally: Tally, tell: Tell
) -> None:
    """Take turns, one each `period` seconds, until `ends_at` on the monotonic clock."""
    turn, due = 0, time.monotonic()
    while time.monotonic() < ends_at:
        turn, started = turn + 1, time.monotonic()
        try:
            async with asyncio.timeout(TURN_SECONDS_MAX):
                reason = await take_turn(client, session, turn)
        except (AnthropicError, TimeoutError, OSError) as failure:
            reason = f"{type(failure).__name__}: {failure}"[:500]
        tally.milliseconds.append((time.monotonic() - started) * 1000)
        if reason is not None:
            tally.failed += 1
            tell(Failure(session=session, turn=turn, reason=reason))
        due = max(due + period, time.monotonic())
        await asyncio.sleep(due - time.monotonic())


async def take_turn(client: AsyncAnthropic, session: str, turn: int) -> str | None:
    """Run one turn; return what was wrong with it.

    A compaction in its middle takes the script out of the conversation, so what the model says at the end is its own.
    """
    tool = {"tool": "bash", "input": {"command": f"echo turn {turn}"}}
    text = script(tool, {"text": "said {{last_tool_result}}"})
    told: list[str] = []
    async with await client.beta.sessions.events.stream(session) as stream:
        message = {"type": "user.message", "content": [{"type": "text", "text": text}]}
        await client.beta.sessions.events.send(session, events=[message])  # type: ignore[list-item] # a plain dict
        async for event in stream:
            if event.type in ("agent.message", "agent.tool_result"):
                told += [block.text.strip() for block in event.content or [] if block.type == "text"]
            elif event.type == "session.status_idle":
                is_right = event.stop_reason.type == "end_turn" and len(told) == 2 and told[0] == f"turn {turn}"
                return None if is_right else f"ended with {event.stop_reason.type} after {told}"
    return "the stream ended before the turn"
