"""B4: what the harness adds between a tool's result and the next model request, from a session's first step on.

The real worker and loop run a turn of many steps, here, without a cluster: platform, model and sandbox are in memory
and answer at once. So the time of a step is the harness's own, and it shall not grow with the log.
"""

import argparse
import asyncio
import itertools
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.stats import Row, quantile, table
from managed_agents.harness.history.request import Body
from managed_agents.harness.model import Preview
from managed_agents.harness.reply import Reply
from managed_agents.harness.settings import Settings
from managed_agents.harness.tools.hand import Call, ToolResult
from managed_agents.harness.worker import Worker
from support.hands import FakeHand, FakeSandbox, text_result
from support.harness import FakeFiles, config_for, message, no_mcp_server
from support.models import Answer, text, thinking, tool
from support.platform import Connection, FakePlatform

STEPS = 1000
CALLS = 3
"""Tool calls of a step: with thought and text it then leaves ten events, so 1,000 steps leave 10,000."""

RESULT_CHARS = 1_000
WINDOW = 50
"""Steps that are looked at together; one alone may meet a pause of the machine."""

SLOPE_US_MAX = 1.0
"""What a step may cost more than the one before it (B4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """What a session's steps cost, in their order, in milliseconds: of the clock from result to request, and of CPU.

    `events` is how long its log became, `resumed` how long a fresh worker then took to read it and ask the model again.
    """

    waits: Sequence[float]
    cpu: Sequence[float]
    events: int
    resumed: float

    def rows(self) -> list[Row]:
        """Compare the last steps with the first."""
        return [
            Row(
                name=f"B4 {what}, the last {WINDOW} steps of {len(found)}",
                samples=found[-WINDOW:],
                floor_name=f"the first {WINDOW} steps",
                floor=found[1 : WINDOW + 1],
            )
            for what, found in (("result to next request", self.waits), ("CPU of a step", self.cpu))
        ]

    def lines(self) -> list[str]:
        """Say by how much each step is longer than the one before, and what a fresh worker pays for the whole log."""
        return [
            f"B4 slope: {slope_us(self.waits):+.2f} us a step from result to request, "
            f"{slope_us(self.cpu):+.2f} us of CPU; at most {SLOPE_US_MAX:.0f} is wanted",
            f"B4 a fresh worker reads {self.events:,} events and asks the model: {self.resumed:.0f} ms, "
            f"{self.resumed / self.events * 1000:.0f} us an event",
        ]


def slope_us(found: Sequence[float]) -> float:
    """Return by how many microseconds a step is longer than the one before it; times are in milliseconds.

    It is the median of the slopes between any two windows, each stood for by its median: a pause of the machine moves
    neither.
    """
    windows = [statistics.median(found[at : at + WINDOW]) for at in range(0, len(found) - WINDOW + 1, WINDOW)]
    pairs = itertools.combinations(enumerate(windows), 2)
    return statistics.median((b - a) / (late - early) / WINDOW * 1000 for (early, a), (late, b) in pairs)


async def measure(steps: int) -> Steps:
    """Run a turn of so many steps, then a fresh worker that finds its log."""
    clock = Clock()
    platform = await run_turn(steps, clock)
    waits, cpu, events = list(clock.waits), list(clock.cpu), platform.head
    await _run(platform, Model(clock, 0), clock, message("And again."))
    return Steps(waits=waits, cpu=cpu, events=events, resumed=(clock.requested - clock.started) * 1000)


async def run_turn(steps: int, clock: "Clock") -> FakePlatform:
    """Run a turn of so many steps under a clock, and return the platform with its log."""
    platform = FakePlatform(config_for())
    await _run(platform, Model(clock, steps), clock, message("Go on until there is nothing left."))
    return platform


async def _run(platform: FakePlatform, model: "Model", clock: "Clock", said: Mapping[str, Any]) -> None:
    await platform.send(said)
    worker = Worker(
        platform=Connection(platform),
        model=model,
        hand_for=lambda _: Hand(clock),
        web_hand_for=lambda _: Hand(clock),
        mcp_client_for=no_mcp_server,
        files=FakeFiles(),
        settings=replace(Settings(), tool_rounds_max=2 * STEPS, readings_file=""),
    )
    clock.started = time.perf_counter()
    working = asyncio.ensure_future(worker.run())
    ending = asyncio.ensure_future(model.done.wait())
    await asyncio.wait((working, ending), return_when=asyncio.FIRST_COMPLETED)
    for task in (working, ending):
        task.cancel()
    failures = await asyncio.gather(working, ending, return_exceptions=True)
    if not model.done.is_set():
        raise RuntimeError(f"the worker ended before its turn: {failures[0]!r}")


class Clock:
    """When a worker started, and how long each request that followed a result was waited for."""

    def __init__(self) -> None:
        self.started = 0.0
        self.waits: list[float] = []
        self.cpu: list[float] = []
        self.requested = 0.0
        self._answered: float | None = None
        self._cpu = 0.0

    def answered(self) -> None:
        """Note a tool's result."""
        self._answered = time.perf_counter()

    def asked(self) -> None:
        """Note a model request."""
        self.requested, cpu = time.perf_counter(), time.thread_time()
        if self._answered is not None:
            self.waits.append((self.requested - self._answered) * 1000)
            self.cpu.append((cpu - self._cpu) * 1000)
        self._answered, self._cpu = None, cpu


class Model:
    """A model that calls tools for so many steps and then says that it is done."""

    def __init__(self, clock: Clock, steps: int) -> None:
        self.done = asyncio.Event()
        self._clock = clock
        self._left = steps
        calls = (tool("bash", command=f"make part-{number}") for number in range(CALLS))
        self._step = Answer(
            thinking("What comes next?", "signed"), text("I go on with the next part."), *calls
        ).events()
        self._last = Answer(text("Done.")).events()

    async def stream(self, body: Body, reply: Reply, preview: Preview) -> None:  # noqa: ARG002 - the model's protocol
        """Answer at once, whatever was asked."""
        self._clock.asked()
        if self._left == 0:
            self.done.set()
        self._left -= 1
        for event in self._step if self._left >= 0 else self._last:
            for shown in reply.feed(_copied(event)):
                await preview(shown)


def _copied(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event whose block a reply may finish, as it does with those it gets off the wire."""
    block = event.get("content_block")
    return event if block is None else event | {"content_block": dict(block)}


class Hand(FakeHand):
    """A sandbox whose tools end at once."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(FakeSandbox())
        self._clock = clock

    async def execute(self, call: Call) -> ToolResult:  # noqa: ARG002 - the hand's protocol
        """Return the same result for every call."""
        self._clock.answered()
        return text_result("x" * RESULT_CHARS)


def main() -> int:
    """Measure by itself: `python -m bench.steps`; 1 when a step's cost grows faster than it may."""
    parser = argparse.ArgumentParser(prog="bench.steps", description=__doc__)
    parser.add_argument("--steps", type=int, default=STEPS)
    found = asyncio.run(measure(parser.parse_args().steps))
    print(table(found.rows()))
    print("".join(f"  {line}\n" for line in found.lines()), end="")
    print(
        "  windows, p50 ms:",
        " ".join(f"{quantile(found.waits[at : at + 100], 0.5):.2f}" for at in range(0, len(found.waits), 100)),
    )
    return 0 if slope_us(found.waits) <= SLOPE_US_MAX else 1


if __name__ == "__main__":
    sys.exit(main())
