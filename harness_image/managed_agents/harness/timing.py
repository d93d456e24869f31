"""When a harness reached the steps of a turn that only it sees, kept until its next append tells them (design §6).

It tells how long ago, never when: the server counts back from the append's arrival by its own clock.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from managed_agents.contracts.turn_timing import MARKS_MAX, Step
from managed_agents.harness.reply import Reply


class Stopwatch:
    """The steps since the last append. `now` are seconds that never go back."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._marks: list[tuple[Step, float]] = []
        self._content_at: float | None = None
        self._tool_sent_at = 0.0

    def mark(self, step: Step) -> None:
        """Reach a step now."""
        self._note(step, self._now())

    def sent(self) -> None:
        """Send a model request."""
        self._content_at = None
        self.mark(Step.SENT)

    def content(self) -> None:
        """Get content of the response."""
        now = self._now()
        if self._content_at is None:
            self._note(Step.FIRST_DELTA, now)
        self._content_at = now

    def stopped(self) -> None:
        """End a response, whole or not; one without content counts as its own first word."""
        now = self._now()
        if self._content_at is None:
            self._note(Step.FIRST_DELTA, now)
        else:
            self._note(Step.LAST_DELTA, self._content_at)
        self._note(Step.STOPPED, now)

    def tool_sent(self) -> None:
        """Have a hand for a call, or give up waiting for one."""
        self._tool_sent_at = self._now()
        self._note(Step.TOOL_SENT, self._tool_sent_at)

    def tool_answered(self, run_seconds: float | None = None) -> None:
        """Get a call's result. `run_seconds` is what its hand says of the run, taken to lie in the middle."""
        now = self._now()
        if run_seconds is not None:
            way = max(now - self._tool_sent_at - run_seconds, 0.0) / 2
            self._note(Step.TOOL_STARTED, self._tool_sent_at + way)
            self._note(Step.TOOL_FINISHED, now - way)
        self._note(Step.TOOL_ANSWERED, now)

    def told(self) -> list[tuple[str, float]]:
        """Return the steps in their order, each with how many milliseconds ago it was."""
        now = self._now()
        return [(step.value, round((now - at) * 1000, 3)) for step, at in self._marks]

    def forget(self, count: int) -> None:
        """Drop the oldest steps, because they were told."""
        del self._marks[:count]

    def _note(self, step: Step, at: float) -> None:
        if len(self._marks) < MARKS_MAX:
            self._marks.append((step, at))


class TimedReply(Reply):
    """A response that tells a stopwatch of its content."""

    def __init__(
        self, stopwatch: Stopwatch, new_id: Callable[[], str], call_begins: Callable[[str], None] = lambda _: None
    ) -> None:
        super().__init__(new_id, call_begins)
        self._stopwatch = stopwatch

    def feed(self, event: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Take in one stream event; see `Reply`."""
        if event["type"] == "content_block_delta":
            self._stopwatch.content()
        return super().feed(event)
