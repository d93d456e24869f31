"""Tool calls as a session's log tells of them: one clock, the server's."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from bench.world.world import World
from managed_agents.contracts.clock import parse_rfc3339
from support.cluster import script

Event = dict[str, Any]


def bash(command: str, **step: Any) -> Event:
    """Return a step of a script that runs a command."""
    return {"tool": "bash", "input": {"command": command}, **step}


def told(*steps: Event) -> str:
    """Return the message that makes the model follow these steps and say `done`."""
    return script(*steps, {"text": "done"})


async def ran(world: World, session: str, *steps: Event) -> list[float]:
    """Let a session follow these steps in one turn; return its round trips. Raises: RuntimeError when a call fails."""
    known = len(await world.api.events(session))
    async with world.api.stream(session) as stream:
        await world.api.send(session, told(*steps))
        await stream.turn()
    events = (await world.api.events(session))[known:]
    if found := failures(events):
        raise RuntimeError(f"{len(found)} calls of {session} failed: {found[0]}")
    if (made := len(round_trips(events))) != (meant := sum(map(calls_of, steps))):
        raise RuntimeError(f"{session} made {made} calls, not {meant}: was its conversation shortened?")
    return round_trips(events)


def calls_of(step: Event) -> int:
    """Return how many calls a step makes, repeats and all."""
    return int(step.get("repeat", 1)) * (len(step["tools"]) if "tools" in step else "tool" in step)


def round_trips(events: Sequence[Event]) -> list[float]:
    """Return the milliseconds from each use's commit to its result's, in the order of the results."""
    began = {event["id"]: _moment(event) for event in events if event["type"] == "agent.tool_use"}
    results = [event for event in events if event["type"] == "agent.tool_result"]
    return [(_moment(event) - began[event["tool_use_id"]]) * 1000 for event in results]


def failures(events: Sequence[Event]) -> list[str]:
    """Return what the results of failed calls say."""
    return [str(e.get("content"))[:300] for e in events if e["type"] == "agent.tool_result" and e.get("is_error")]


async def local(command: str) -> float:
    """Run the same command as a process of this machine; return its milliseconds."""
    started = time.monotonic()
    process = await asyncio.create_subprocess_exec("bash", "-c", command, stdout=asyncio.subprocess.PIPE)
    await process.communicate()
    return (time.monotonic() - started) * 1000


def _moment(event: Event) -> float:
    return parse_rfc3339(event["processed_at"]).timestamp()
