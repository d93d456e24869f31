"""The sandbox is asked for while the model still speaks, for calls that will run there, and only for those."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from managed_agents.contracts.events import types
from managed_agents.harness.session import session_for
from managed_agents.harness.tools.early import EarlyHand
from managed_agents.harness.tools.hand import HandUnavailableError
from support.hands import FakeHand, FakeSandbox
from support.harness import ASKING_TOOLSET, CUSTOM_TOOL, INTERRUPT, TOOLSET, Harness, config_for, message, running
from support.invariants import check_log
from support.models import Answer, text, tool
from support.platform import WAIT_SECONDS

LS = Answer(text("Let me see."), tool("bash", command="ls"))
SELF_HOSTED = {"environment": {"config": {"type": "self_hosted"}}}


class Points:
    """A gate that notes the order of points and holds the one of a name until it is let go."""

    def __init__(self, held: str = "") -> None:
        self.seen: list[str] = []
        self.reached, self.free = asyncio.Event(), asyncio.Event()
        self._held = held

    async def __call__(self, point: str) -> None:
        self.seen.append(point)
        if point == self._held:
            self.reached.set()
            await self.free.wait()

    def first(self, point: str) -> int:
        return self.seen.index(point)


class Turning(Points):
    """Gives other tasks a turn at each point, as a real stream does."""

    async def __call__(self, point: str) -> None:
        await asyncio.sleep(0)
        await super().__call__(point)


async def test_sandbox_is_asked_for_before_the_message_ends() -> None:
    points = Turning()
    async with running(LS, gate=points) as harness:
        await harness.turn(message("list"))

        assert points.first("before provision") < points.first("stream message_stop")
        assert points.seen.count("before provision") == 1
        assert harness.sandbox.generation == 1
        check_log(harness.platform.log(), harness.platform.epochs)


async def test_several_calls_ask_once_and_the_first_joins_what_is_on_its_way() -> None:
    points = Turning("before provision")
    script = Answer(tool("bash", command="ls"), tool("bash", command="pwd"))
    async with running(script, gate=points) as harness:
        await harness.platform.send(message("go"))
        await harness.platform.until(lambda: len(harness.platform.of(types.AGENT_TOOL_USE)) == 2)
        points.free.set()
        await harness.idle()

        assert points.seen.count("before provision") == 1
        assert len(harness.sandbox.effects) == 2


@pytest.mark.parametrize(
    ("changes", "name", "wanted"),
    [
        ({"tools": [TOOLSET]}, "bash", True),
        ({"tools": [TOOLSET]}, "unheard_of", False),
        ({"tools": [TOOLSET]}, "web_fetch", False),
        ({"tools": [ASKING_TOOLSET]}, "bash", False),
        ({"tools": [TOOLSET, CUSTOM_TOOL]}, "lookup_order", False),
        ({"tools": [TOOLSET], **SELF_HOSTED}, "bash", False),
    ],
)
def test_calls_that_run_in_the_sandbox_without_asking_want_one(
    changes: Mapping[str, Any], name: str, wanted: bool
) -> None:
    assert session_for(config_for(**changes)).runs_in_sandbox(name) is wanted


async def test_call_that_needs_a_confirmation_asks_for_no_sandbox() -> None:
    async with running(LS, config=config_for(tools=[ASKING_TOOLSET])) as harness:
        await harness.platform.send(message("list"))
        await harness.platform.until(lambda: bool(harness.platform.of(types.STATUS_IDLE)))

        assert harness.sandbox.generation == 0


async def test_stream_that_breaks_keeps_the_sandbox_for_the_repeat() -> None:
    points = Turning()
    async with running(Answer(tool("bash", command="ls"), cut=True), gate=points) as harness:
        await harness.platform.send(message("list"))
        await harness.platform.until(lambda: bool(harness.platform.of(types.SESSION_ERROR)))
        harness.model.answers = [LS]
        await harness.idle()

        assert points.seen.count("before provision") == 1
        assert harness.sandbox.generation == 1
        assert len(harness.sandbox.effects) == 1


async def test_interrupt_in_the_stream_does_not_wait_for_the_sandbox() -> None:
    points = Turning("before provision")
    script = Answer(tool("bash", command="ls"), text("and"), text("so"), text("on"))
    async with running(script, gate=points) as harness:
        await harness.platform.send(message("list"))
        async with asyncio.timeout(WAIT_SECONDS):
            await points.reached.wait()
        idle = await harness.turn(INTERRUPT)

        assert idle["stop_reason"] == {"type": "end_turn"}
        assert harness.sandbox.effects == []


async def test_worker_that_stops_takes_its_request_along() -> None:
    points = Turning("before provision")
    harness = Harness([LS], gate=points)
    harness.start()
    await harness.platform.send(message("list"))
    async with asyncio.timeout(WAIT_SECONDS):
        await points.reached.wait()
    await harness.stop()

    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def test_sandbox_that_is_not_to_be_had_is_the_calls_own_error() -> None:
    sandbox = FakeSandbox()
    sandbox.unavailable = "no room"
    hand = EarlyHand(FakeHand(sandbox))
    hand.expect()
    with pytest.raises(HandUnavailableError):
        await hand.provision()
    sandbox.unavailable = None
    assert await hand.provision() == 1
    hand.expect()
    assert await hand.provision() == 1
    await hand.close()
