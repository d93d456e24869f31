"""The harness between the real server, proxy, simulated model and sandbox, all on loopback."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, nullcontext
from pathlib import Path

import pytest

from support.server import server_process
from support.stack import Stack, script, stack_running


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    async with stack_running(tmp_path) as made:
        yield made


async def test_message_is_answered(stack: Stack) -> None:
    stack.start_worker()
    summary = await stack.turn(script({"text": "Hello."}))

    assert summary["stop_reason"] == {"type": "end_turn"}
    assert summary["last_message"]["text"] == "Hello."
    kinds = [event["type"] for event in await stack.events()]
    assert kinds == [
        "user.message",
        "session.status_running",
        "session.thread_status_running",
        "span.model_request_start",
        "agent.message",
        "span.model_request_end",
        "session.thread_status_idle",
        "session.usage",
        "session.status_idle",
    ]


async def test_tool_runs_in_the_sandbox_and_its_output_reaches_the_model(stack: Stack) -> None:
    stack.start_worker()
    run = {"tool": "bash", "input": {"command": "echo $((6*7)) > answer; cat answer"}}
    summary = await stack.turn(script(run, {"text": "It says {{last_tool_result}}"}))

    assert summary["last_message"]["text"].strip() == "It says 42"
    assert (stack.sandboxes[0].workdir / "answer").read_text() == "42\n"


async def test_interrupt_kills_the_running_tool_within_two_seconds(stack: Stack) -> None:
    stack.start_worker()
    await stack.send(script({"tool": "bash", "input": {"command": "touch started; sleep 1000"}}))
    await stack.started("started")
    loop = asyncio.get_running_loop()
    sent = loop.time()
    summary = await stack.turn({"type": "user.interrupt"})

    assert loop.time() - sent < 2.0
    assert summary["stop_reason"] == {"type": "end_turn"}
    (result,) = [event for event in await stack.events() if event["type"] == "agent.tool_result"]
    assert "interrupted" in result["content"][0]["text"]
    check = {"tool": "bash", "input": {"command": "echo alive"}}
    again = await stack.turn(script(check, {"text": "{{last_tool_result}}"}))
    assert again["last_message"]["text"].strip().endswith("alive")


async def test_another_worker_joins_the_running_tool(stack: Stack) -> None:
    stack.start_worker()
    run = "echo once >> runs; touch started; until [ -e go ]; do sleep 0.01; done; cat runs"
    await stack.send(script({"tool": "bash", "input": {"command": run}}, {"text": "{{last_tool_result}}"}))
    await stack.started("started")
    await stack.stop_worker()
    stack.start_worker()
    await stack.until(epoch=2, leased=True)
    (stack.sandboxes[0].workdir / "go").touch()
    summary = await stack.until(wanted=False)

    assert summary["last_message"]["text"].strip() == "once"


async def test_lost_sandbox_is_an_error_result_and_the_next_call_gets_another(stack: Stack) -> None:
    stack.start_worker()
    first = {"tool": "bash", "input": {"command": "touch started; sleep 1000"}}
    second = {"tool": "bash", "input": {"command": "echo again"}}
    await stack.send(script(first, second, {"text": "{{last_tool_result}}"}))
    await stack.started("started")
    pod = (await stack.summary())["sandbox"]["pod_name"]
    await stack.report(pod, "gone", reason="Evicted", message="the node ran out of disk")
    await stack.sandboxes[0].kill("supervisor")
    summary = await stack.until(wanted=False)

    assert summary["last_message"]["text"].strip() == "again"
    lost, _ = [event for event in await stack.events() if event["type"] == "agent.tool_result"]
    assert lost["content"][0]["text"].startswith("sandbox lost: Evicted")


async def test_model_that_is_overloaded_is_asked_again(stack: Stack) -> None:
    stack.start_worker()
    error = {"status": 529, "type": "overloaded_error", "message": "Overloaded"}
    cut = {"text": "Whole at last.", "cut": {"after_chars": 5}, "times": 1}
    summary = await stack.turn(script({"error": error, "times": 2}, cut))

    assert summary["last_message"]["text"] == "Whole at last."
    assert summary["last_error"] is None
    events = await stack.events()
    assert [event["error"]["type"] for event in events if event["type"] == "session.error"] == [
        "model_overloaded_error",
        "model_overloaded_error",
        "model_request_failed_error",
    ]
    assert sum(event["type"] == "agent.message" for event in events) == 1


@pytest.mark.slow
async def test_killed_worker_is_replaced_by_the_respawner(stack: Stack) -> None:
    harness = await stack.start_harness()
    try:
        run = "echo once >> runs; touch started; until [ -e go ]; do sleep 0.01; done; cat runs"
        await stack.send(script({"tool": "bash", "input": {"command": run}}, {"text": "{{last_tool_result}}"}))
        await stack.started("started")
        (worker,) = _children_of(harness.pid)
        os.kill(worker, signal.SIGKILL)
        await stack.until(epoch=2, leased=True)
        (stack.sandboxes[0].workdir / "go").touch()
        summary = await stack.until(wanted=False)
        assert summary["last_message"]["text"].strip() == "once"
    finally:
        harness.terminate()
        async with asyncio.timeout(5):
            assert await harness.wait() == 0


@pytest.mark.slow
async def test_killed_server_is_waited_for_and_the_turn_goes_on(tmp_path: Path) -> None:
    async with AsyncExitStack() as closing:
        process = await closing.enter_async_context(server_process(tmp_path / "data"))
        stack = await closing.enter_async_context(stack_running(tmp_path, lambda _: nullcontext(process.server)))
        stack.start_worker()
        slow = {"text": "A long story.", "first_token_delay_seconds": 1.5}
        await stack.send(script(slow))
        await stack.until(status="running")
        await process.stop(signal.SIGKILL)
        await process.start()
        summary = await stack.until(wanted=False)

        assert summary["last_message"]["text"] == "A long story."
        kinds = [event["type"] for event in await stack.events()]
        assert kinds.count("session.status_running") == 1
        assert kinds.count("agent.message") == 1


def _children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
