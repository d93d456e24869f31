"""A worker killed at a chosen point is replaced, and the session goes on as if nothing had happened (guarantee F7)."""

import asyncio
from collections.abc import Callable

import pytest

from managed_agents.contracts.events import types
from support.harness import Harness, message
from support.invariants import check_log
from support.models import Answer, text, tool
from support.requirements import requirement

SCRIPT = Answer(text("Running."), tool("bash", command="ls")), Answer(text("Listed."))


class KillAt:
    """A gate that stops the world's changes at the first point of that name, until the worker is killed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.reached = asyncio.Event()

    async def __call__(self, point: str) -> None:
        if point == self.name and not self.reached.is_set():
            self.reached.set()
            await asyncio.Event().wait()


async def kill_and_go_on(point: str, meanwhile: Callable[[Harness], None] = lambda _: None) -> Harness:
    gate = KillAt(point)
    harness = Harness(SCRIPT, gate=gate)
    harness.start()
    await harness.platform.send(message("list"))
    async with asyncio.timeout(5):
        await gate.reached.wait()
    await harness.kill()
    meanwhile(harness)
    harness.start()
    await harness.idle()
    await harness.stop()
    check_log(harness.platform.log(), harness.platform.epochs)
    return harness


TOOL_USE_COMMIT = f"{types.AGENT_MESSAGE}+{types.AGENT_TOOL_USE}+{types.REQUEST_END}"


@requirement("F7", "I6")
@pytest.mark.parametrize(
    "point",
    [
        "wake",
        f"before {types.STATUS_RUNNING}+{types.THREAD_RUNNING}+{types.REQUEST_START}",
        f"after {types.STATUS_RUNNING}+{types.THREAD_RUNNING}+{types.REQUEST_START}",
        "before request",
        "stream content_block_delta",
        "stream message_stop",
        f"before {TOOL_USE_COMMIT}",
        f"after {TOOL_USE_COMMIT}",
        "before provision",
        "after provision",
        "before execute",
        "during execute",
        "after execute",
        f"before {types.AGENT_TOOL_RESULT}",
        f"after {types.AGENT_TOOL_RESULT}",
        f"before {types.THREAD_IDLE}+{types.SESSION_USAGE}+{types.STATUS_IDLE}",
    ],
)
async def test_killed_worker_is_replaced_and_the_tool_runs_once(point: str) -> None:
    harness = await kill_and_go_on(point)

    (use,) = harness.platform.of(types.AGENT_TOOL_USE)
    (result,) = harness.platform.of(types.AGENT_TOOL_RESULT)
    assert harness.sandbox.effects == [use["id"]]
    assert result["content"] == [{"type": "text", "text": "ran ls"}]
    assert harness.platform.of(types.STATUS_IDLE)[-1]["stop_reason"] == {"type": "end_turn"}


@requirement("F7")
@pytest.mark.parametrize("point", ["before execute", "during execute", "after execute"])
async def test_journal_is_asked_before_anything_runs_again(point: str) -> None:
    harness = await kill_and_go_on(point)

    (use,) = harness.platform.of(types.AGENT_TOOL_USE)
    assert harness.sandbox.lookups == [use["id"]]


@pytest.mark.parametrize("point", ["before execute", "during execute", "after execute"])
async def test_replaced_harness_pod_finds_the_call_in_the_journal(point: str) -> None:
    harness = await kill_and_go_on(point, lambda harness: harness.sandbox.replace_harness_pod())

    (use,) = harness.platform.of(types.AGENT_TOOL_USE)
    assert harness.sandbox.effects == [use["id"]]
    assert not harness.platform.of(types.AGENT_TOOL_RESULT)[0]["is_error"]


async def test_sandbox_lost_with_the_worker_is_an_error_result_and_nothing_runs_twice() -> None:
    harness = await kill_and_go_on("during execute", lambda harness: harness.sandbox.lose("OOMKilled"))

    (result,) = harness.platform.of(types.AGENT_TOOL_RESULT)
    assert result["is_error"]
    assert result["content"][0]["text"] == "sandbox lost: OOMKilled: the Pod is gone"
    assert len(harness.sandbox.effects) == 1


async def test_first_call_ever_is_not_run_again_in_a_second_sandbox() -> None:
    def replace_both(harness: Harness) -> None:
        harness.sandbox.lose("Deleted")
        harness.sandbox.replace_harness_pod()

    harness = await kill_and_go_on("during execute", replace_both)

    (result,) = harness.platform.of(types.AGENT_TOOL_RESULT)
    assert "whether it took effect is unknown" in result["content"][0]["text"]
    assert len(harness.sandbox.effects) == 1


@requirement("F17")
async def test_sandbox_lost_while_a_tool_runs_is_an_error_result_and_the_next_call_gets_another() -> None:
    async def gate(point: str) -> None:
        if point == "before execute" and not harness.sandbox.effects and harness.sandbox.generation == 1:
            harness.sandbox.lose("Evicted")

    script = Answer(tool("bash", command="one")), Answer(tool("bash", command="two")), Answer(text("Done."))
    harness = Harness(script, gate=gate)
    harness.start()
    await harness.turn(message("go"))
    await harness.stop()

    lost, ran = harness.platform.of(types.AGENT_TOOL_RESULT)
    assert lost["content"][0]["text"] == "sandbox lost: Evicted: the Pod is gone"
    assert not ran["is_error"]
    assert harness.sandbox.generation == 2


async def test_call_that_may_have_started_in_a_sandbox_that_is_gone_does_not_run_again() -> None:
    gate = KillAt("during execute")
    script = Answer(tool("bash", command="one")), Answer(tool("bash", command="two")), Answer(text("Done."))
    harness = Harness(script)
    harness.start()
    await harness.turn(message("go"))
    await harness.kill()
    harness.gate = gate
    # The next turn's call is cut off, and Pod and sandbox are replaced with the worker.
    harness.model.answers = [*script, Answer(tool("bash", command="three")), Answer(text("Done."))]
    harness.start()
    await harness.platform.send(message("once more"))
    async with asyncio.timeout(5):
        await gate.reached.wait()
    await harness.kill()
    harness.sandbox.lose("Deleted")
    harness.sandbox.replace_harness_pod()
    harness.start()
    await harness.idle()
    await harness.stop()

    last = harness.platform.of(types.AGENT_TOOL_RESULT)[-1]
    assert last["is_error"]
    assert "unknown" in last["content"][0]["text"]
    assert len(harness.sandbox.effects) == 3


@requirement("F9")
async def test_unreachable_sandbox_is_reported_as_unknown() -> None:
    harness = Harness(SCRIPT)
    harness.sandbox.claim()
    harness.sandbox.unreachable = True
    harness.start()
    await harness.turn(message("list"))
    await harness.stop()

    (result,) = harness.platform.of(types.AGENT_TOOL_RESULT)
    assert result["content"][0]["text"] == "sandbox unreachable, outcome unknown: no route to the sandbox"


@requirement("I17")
async def test_sandbox_that_does_not_come_is_a_tool_error_with_its_reason() -> None:
    harness = Harness(SCRIPT)
    harness.sandbox.unavailable = "Unschedulable: 0/1 nodes are available."
    harness.start()
    await harness.turn(message("list"))
    await harness.stop()

    (result,) = harness.platform.of(types.AGENT_TOOL_RESULT)
    assert result["content"][0]["text"].startswith("sandbox not ready: Unschedulable: 0/1 nodes are available.")


async def test_lost_connection_is_followed_by_a_new_epoch_of_the_same_worker() -> None:
    gate = KillAt("stream content_block_delta")
    harness = Harness(SCRIPT, gate=gate)
    harness.start()
    await harness.platform.send(message("list"))
    async with asyncio.timeout(5):
        await gate.reached.wait()
    harness.platform.cut()
    await harness.idle()
    await harness.stop()

    check_log(harness.platform.log(), harness.platform.epochs)
    assert harness.platform.epoch == 2


async def test_worker_that_is_fenced_writes_nothing_more() -> None:
    gate = KillAt("during execute")
    harness = Harness(SCRIPT, gate=gate)
    first = harness.start()
    await harness.platform.send(message("list"))
    async with asyncio.timeout(5):
        await gate.reached.wait()
    await harness.platform.end("fenced")
    await asyncio.wait([first], timeout=5)

    assert first.done()
    harness.start()
    harness.workers.remove(first)
    await harness.idle()
    await harness.stop()
    check_log(harness.platform.log(), harness.platform.epochs)


@requirement("F10")
async def test_worker_that_dies_in_every_request_does_not_loop_for_ever() -> None:
    gate = KillAt("before request")
    harness = Harness(SCRIPT, gate=gate)
    await harness.platform.send(message("list"))
    for _ in range(harness.settings.abandoned_max):
        gate.reached.clear()
        harness.start()
        async with asyncio.timeout(5):
            await gate.reached.wait()
        await harness.kill()
    gate.reached.clear()
    harness.start()
    while not harness.platform.of(types.STATUS_IDLE):
        if gate.reached.is_set():
            gate.reached.clear()
            await harness.kill()
            harness.start()
        await asyncio.sleep(0)
    await harness.stop()

    assert harness.platform.of(types.STATUS_IDLE)[-1]["stop_reason"] == {"type": "retries_exhausted"}
    assert harness.platform.of(types.SESSION_ERROR)[-1]["error"]["type"] == "unknown_error"


async def test_ended_session_is_given_back() -> None:
    harness = Harness(SCRIPT)
    worker = harness.start()
    await harness.platform.commit([{"id": "sevt_end", "type": types.STATUS_TERMINATED}])
    await asyncio.wait([worker], timeout=5)

    assert worker.done()
    assert harness.platform.released
