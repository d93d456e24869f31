"""Kill a worker anywhere, as often as you like: the next one ends the session as if nothing had happened (I1-I8)."""

import asyncio
import dataclasses
import random
from collections.abc import Mapping
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from managed_agents.contracts.events import types
from managed_agents.harness.history.fold import fold
from managed_agents.harness.history.request import body_for, head_for
from managed_agents.harness.history.state import State
from managed_agents.harness.retry import failure_for
from managed_agents.harness.session import session_for
from managed_agents.simulator.signatures import signature_of
from support.harness import ASKING_TOOLSET, CUSTOM_TOOL, INTERRUPT, QUICK, Harness, config_for, message
from support.invariants import check_log
from support.models import Answer, text, thinking, tool
from support.requirements import requirement

OVERLOADED = failure_for(529, {"type": "overloaded_error", "message": "Overloaded"}, {})

SYSTEM = {"type": "system.message", "content": [{"type": "text", "text": "Be brief."}]}
FEW_ROUNDS = dataclasses.replace(QUICK, tool_rounds_max=20)
"""A compacted conversation may meet the same scripted answer again and again."""

BLOCKS = st.sampled_from(
    [
        text("Working."),
        thinking("Hm.", signature_of("Hm.")),
        tool("bash", command="ls"),
        tool("read", file_path="x"),
        tool("lookup_order", order=1),
        tool("no_such_tool", x=1),
    ]
)
ANSWERS = st.lists(
    st.builds(
        lambda blocks, stop: Answer(*blocks, stop_reason=stop),
        st.lists(BLOCKS, max_size=4),
        st.sampled_from([None, None, None, None, "max_tokens", "refusal"]),
    ),
    max_size=5,
)


class Killer:
    """A gate that stops the worker for ever at each of these crossings, counted over all workers."""

    def __init__(self, crossings: set[int]) -> None:
        self._crossings = crossings
        self._count = 0
        self.fell = asyncio.Event()

    async def __call__(self, _: str) -> None:
        self._count += 1
        if self._count in self._crossings:
            self.fell.set()
            await asyncio.Event().wait()


async def live(harness: Harness, killer: Killer, seed: int) -> None:
    """Keep a worker alive and answer for the client until the session is at rest."""
    rng = random.Random(seed)  # noqa: S311 - a test's dice
    if not harness.workers:
        harness.start()
    resting = asyncio.ensure_future(harness.platform.until(lambda: not harness.platform.wanted))
    while True:
        fell = asyncio.ensure_future(killer.fell.wait())
        await asyncio.wait([resting, fell, *harness.workers], timeout=5, return_when=asyncio.FIRST_COMPLETED)
        fell.cancel()
        if killer.fell.is_set():
            killer.fell.clear()
            await harness.kill()
            if rng.random() < 0.3:
                harness.sandbox.replace_harness_pod()
            if rng.random() < 0.2 and harness.sandbox.generation:
                harness.sandbox.lose("Evicted")
            harness.start()
            continue
        for worker in harness.workers:
            if worker.done():
                worker.result()
        assert resting.done(), "the session came to no rest"
        await resting
        actions = client_actions(harness, rng)
        if not actions:
            return
        await harness.platform.send(*actions)
        resting = asyncio.ensure_future(harness.platform.until(lambda: not harness.platform.wanted))


def client_actions(harness: Harness, rng: random.Random) -> list[Mapping[str, Any]]:
    """Settle some of what the session waits for."""
    waiting = harness.platform.of(types.STATUS_IDLE)[-1]["stop_reason"].get("event_ids", [])
    uses = {event["id"]: event for event in harness.platform.log()}
    chosen = waiting[: rng.randint(1, len(waiting))] if waiting else []
    return [settle(uses[use], rng) for use in chosen]


def settle(use: Mapping[str, Any], rng: random.Random) -> Mapping[str, Any]:
    if use["type"] == types.AGENT_CUSTOM_TOOL_USE:
        return {"type": types.USER_CUSTOM_TOOL_RESULT, "custom_tool_use_id": use["id"], "content": []}
    result = rng.choice(["allow", "deny"])
    return {"type": types.USER_TOOL_CONFIRMATION, "tool_use_id": use["id"], "result": result}


@requirement("I5", "I6", "I7", "I8", "F7")
@settings(max_examples=120, deadline=None)
@given(
    answers=ANSWERS,
    inputs=st.lists(
        st.sampled_from([[message("go")], [message("and this"), SYSTEM], [INTERRUPT], [INTERRUPT, message("instead")]]),
        min_size=1,
        max_size=4,
    ),
    window=st.sampled_from([None, None, 60, 400]),
    crossings=st.sets(st.integers(1, 60), max_size=4),
    asking=st.booleans(),
    overloads=st.integers(0, 2),
    seed=st.integers(0, 2**16),
)
def test_any_crash_leaves_a_log_that_keeps_every_promise(
    answers: list[Answer],
    inputs: list[list[dict[str, Any]]],
    window: int | None,
    crossings: set[int],
    asking: bool,
    overloads: int,
    seed: int,
) -> None:
    async def run() -> None:
        killer = Killer(crossings)
        toolset = ASKING_TOOLSET if asking else {"type": "agent_toolset_20260401"}
        provider = {"name": "simulated", "list_price": None, "context_window_tokens": window}
        config = config_for([toolset, CUSTOM_TOOL], model_provider=provider)
        failures = {0: [OVERLOADED] * overloads}
        harness = Harness(answers, config=config, gate=killer, failures=failures, settings=FEW_ROUNDS)
        await harness.platform.send(message("first"))
        harness.gate = killer
        sender = asyncio.create_task(send_later(harness, inputs))
        try:
            await live(harness, killer, seed)
            await sender
            await live(harness, killer, seed)
        finally:
            await harness.stop()
        check_log(harness.platform.log(), harness.platform.epochs)
        check_effects(harness)
        check_rebuilt(harness, config)

    asyncio.run(run())


async def send_later(harness: Harness, inputs: list[list[dict[str, Any]]]) -> None:
    for events in inputs:
        await asyncio.sleep(0)
        await harness.platform.send(*events)


def check_effects(harness: Harness) -> None:
    """A call takes effect at most once, whatever was killed (I6)."""
    assert len(harness.sandbox.effects) == len(set(harness.sandbox.effects))


def check_rebuilt(harness: Harness, config: Mapping[str, Any]) -> None:
    """The log read back gives the bytes that its writer would have sent (F12)."""
    head = head_for(session_for(config), max_tokens=QUICK.max_tokens)
    state, rebuilt = State(), set()
    for event in harness.platform.log():
        fold(state, [event])
        if event["type"] == types.REQUEST_START:
            rebuilt.add(bytes(body_for(head, state.conversation)))
    asked = {body for body in harness.model.requests if b'"tool_choice"' not in body}  # the others ask for a summary
    assert rebuilt.issuperset(asked)
