"""`scripts/why-slow`, as a user runs it against a server."""

import asyncio
import os
import sys
from pathlib import Path

from managed_agents.contracts.turn_timing import Segment
from support.clock import ManualClock
from support.requirements import requirement
from support.server import USER_TOKEN, TestServer, agent_event, message, server_in_process

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "why-slow"


async def why_slow(server: TestServer, *arguments: str, key: str = USER_TOKEN) -> tuple[int, str, str]:
    """Run the script; return its status, output and errors."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(SCRIPT), *arguments),
        env={**os.environ, "ANTHROPIC_BASE_URL": server.public_url, "ANTHROPIC_API_KEY": key},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(20):
        output, errors = await process.communicate()
    return process.returncode or 0, output.decode(), errors.decode()


async def take_turn(server: TestServer, clock: ManualClock) -> str:
    session = await server.create("repair-42", {"name": "first", **message("hello")})
    await server.register(session)
    clock.advance(3.0)
    async with server.wake() as socket:
        await server.leased(socket)
        kinds = ("span.model_request_start", "session.status_idle")
        for kind in kinds:
            clock.advance(0.5)
            body = {"epoch": 1, "events": [agent_event(kind)], "timing": [["t3", 250]]}
            assert (await server.harness("pod-1", "POST", f"/sessions/{session}/events", body))[0] == 200
    return session


@requirement("turn-times")
async def test_the_script_shows_the_share_of_each_segment_and_marks_the_largest(tmp_path: Path) -> None:
    clock = ManualClock()
    async with server_in_process(tmp_path, clock=clock) as server:
        session = await take_turn(server, clock)
        status, output, errors = await why_slow(server, session, "--steps")
    assert (status, errors) == (0, "")
    lines = {line[:26].strip(): line[26:].split() for line in output.splitlines()}
    assert lines["turn"] == ["1"]
    assert lines["positions"] == ["1-3"]
    assert lines["waiting for a harness"] == ["3,000.0", "ms", "75%*"]
    assert lines["building context"] == ["500.0", "ms", "12%"]
    assert lines["log commits"] == ["500.0", "ms", "12%"]
    assert lines["running tools"] == ["-"]
    assert lines["whole turn"] == ["4,000.0", "ms"]
    assert "t16         4,000.0      1        250.0        250.0" in output


async def test_the_script_says_why_there_is_nothing_to_show(tmp_path: Path) -> None:
    async with server_in_process(tmp_path) as server:
        session = await server.create()
        assert await why_slow(server, session) == (
            0,
            "No turn of this session has ended since it is recorded.\n",
            "",
        )
        status, _, errors = await why_slow(server, "sesn_00000000000000000000000000000009")
        assert (status, errors) == (1, "why-slow: 404: session sesn_00000000000000000000000000000009 not found\n")
        assert "limit" in (await why_slow(server, session, "-n", "51"))[2]
        assert "ANTHROPIC_API_KEY" in (await why_slow(server, session, key=""))[2]


def test_the_script_names_every_segment() -> None:
    shown = SCRIPT.read_text()
    assert [segment for segment in Segment if f'"{segment}":' not in shown] == []
