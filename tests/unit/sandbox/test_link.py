"""The supervisor does not trust what speaks on the runner's socket."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from typing import Any

import pytest

from managed_agents.sandbox.runner.frames import encode, read_frame
from managed_agents.sandbox.supervisor import results
from support.sandbox_process import Sandbox, new_folder

HELLO = {"op": "hello", "boot_id": "fake", "running": []}


@pytest.fixture
async def alone() -> AsyncIterator[Sandbox]:
    """A supervisor without a runner."""
    sandbox = Sandbox(new_folder())
    try:
        await sandbox.start_supervisor()
        assert (await sandbox.bind()).status == 200
        yield sandbox
    finally:
        await sandbox.close()
        shutil.rmtree(sandbox.folder)


async def connect(sandbox: Sandbox) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_unix_connection(str(sandbox.folder / "s" / "r.sock"))


BROKEN = [
    b"\xff\xff\xff\xff",
    b"\x00\x00\x00\x02[]",
    b"\x00\x00\x00\x01{",
    encode({"op": "result", "tool_use_id": "x"}),
    encode({**HELLO, "boot_id": 3}),
    encode({**HELLO, "running": [1]}),
    encode(HELLO) + encode({"op": "execute"}),
]


async def test_a_broken_frame_ends_the_connection_and_nothing_else(alone: Sandbox) -> None:
    for raw in BROKEN:
        reader, writer = await connect(alone)
        writer.write(raw)
        assert await reader.read() == b""
        writer.close()
        await alone.wait_runner(present=False)


async def test_a_second_connection_is_refused_while_the_first_lives(sandbox: Sandbox) -> None:
    reader, writer = await connect(sandbox)
    writer.write(encode(HELLO))
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await reader.readexactly(1)
    writer.close()
    assert (await sandbox.bash("call_1", "echo hi")).text == "hi"


MALFORMED: list[dict[str, Any]] = [
    {},
    {"content": [], "is_error": False, "outcome": "completed"},
    {"content": [{"type": "text", "text": 3}], "is_error": False, "outcome": "completed"},
    {"content": [{"type": "tool_use"}], "is_error": False, "outcome": "completed"},
    {"content": [{"type": "text", "text": "x"}], "is_error": "no", "outcome": "completed"},
    {"content": [{"type": "text", "text": "x"}], "is_error": False, "outcome": "lost"},
]


async def test_a_malformed_result_becomes_an_error(alone: Sandbox) -> None:
    reader, writer = await connect(alone)
    writer.write(encode(HELLO))
    for number, result in enumerate(MALFORMED):
        call_id = f"call_{number}"
        call = asyncio.create_task(alone.bash(call_id, "true"))
        frame = await read_frame(reader)
        assert (frame["op"], frame["tool_use_id"], frame["input"]) == ("execute", call_id, {"command": "true"})
        writer.write(encode({"op": "result", "tool_use_id": call_id, **result}))
        assert ((await call).body["outcome"], (await call).text) == ("unknown", results.MALFORMED)
        assert await read_frame(reader) == {"op": "ack", "tool_use_id": call_id}
    writer.close()


async def test_only_the_first_result_of_a_call_counts(alone: Sandbox) -> None:
    reader, writer = await connect(alone)
    writer.write(encode(HELLO))
    call = asyncio.create_task(alone.bash("call_1", "true"))
    await read_frame(reader)
    for text in ("first", "second"):
        block = {"type": "text", "text": text}
        frame = {"op": "result", "tool_use_id": "call_1", "content": [block], "is_error": False, "outcome": "completed"}
        writer.write(encode(frame))
    assert (await call).text == "first"
    assert (await alone.lookup("call_1")).body["result"]["content"][0]["text"] == "first"
    writer.close()
