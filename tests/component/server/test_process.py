"""The server as a process: killed, restarted, stopped (I1, I2, F1)."""

import asyncio
import contextlib
import signal
from pathlib import Path

import aiohttp
import pytest

from support.requirements import requirement
from support.server import USER_TOKEN, WAIT_SECONDS, TestServer, message, pod_token, server_process

pytestmark = pytest.mark.slow


async def write(
    server: TestServer, session: str, acknowledged: dict[str, str], writer: int, enough: asyncio.Event
) -> None:
    """Send messages until the server is gone; note what it acknowledged."""
    number = 0
    with contextlib.suppress(aiohttp.ClientError):
        while True:
            text, number = f"{writer}-{number}", number + 1
            status, answer = await server.user("POST", f"/sessions/{session}/events", {"events": [message(text)]})
            assert status == 200
            acknowledged[answer["data"][0]["id"]] = text
            if number == 10:
                enough.set()


@requirement("I1", "F1")
async def test_what_was_acknowledged_survives_kill_nine(tmp_path: Path) -> None:
    async with server_process(tmp_path) as process:
        server = process.server
        sessions = [await server.create(f"s{number}") for number in range(3)]
        await server.register(sessions[0])
        acknowledged: dict[str, dict[str, str]] = {session: {} for session in sessions}
        for _ in range(3):
            enough = asyncio.Event()
            writers = [
                asyncio.create_task(write(server, session, acknowledged[session], writer, enough))
                for writer in range(3)
                for session in sessions
            ]
            async with asyncio.timeout(20):
                await enough.wait()
            await process.stop(signal.SIGKILL)
            await asyncio.gather(*writers)
            await process.start()
        for session in sessions:
            events, cursor = [], ""
            while cursor is not None:
                params = {"limit": "1000"} | ({"page": cursor} if cursor else {})
                _, answer = await server.user("GET", f"/sessions/{session}/events", params=params)
                events += answer["data"]
                cursor = answer["next_page"]
            found = {event["id"]: event["content"][0]["text"] for event in events}
            assert acknowledged[session].items() <= found.items()
            summary = (await server.operator("GET", f"/sessions/{session}"))[1]
            assert (summary["head"], len(found)) == (len(events), len(events))
        async with server.wake("pod-1") as socket:  # the registry is durable too
            assert (await server.leased(socket))["session"]["id"] == sessions[0]


async def test_sigterm_ends_streams_and_leases_cleanly_and_exits_zero(tmp_path: Path) -> None:
    async with server_process(tmp_path) as process:
        server = process.server
        session = await server.create()
        await server.register(session)
        url = f"{server.public_url}/v1/sessions/{session}/events/stream"
        async with (
            server.http.get(url, headers={"Authorization": f"Bearer {USER_TOKEN}"}) as stream,
            server.wake() as leased,
            server.wake("pod-unknown") as waiting,
        ):
            await server.leased(leased)
            sent = (await server.user("POST", f"/sessions/{session}/events", {"events": [message("hi")]}))[1]
            stopping = asyncio.create_task(process.stop(signal.SIGTERM))
            async with asyncio.timeout(WAIT_SECONDS):
                body = await stream.read()  # raises on a connection that is cut in the middle
                frames = [frame.data async for frame in leased]
                assert [frame async for frame in waiting] == []
            assert sent["data"][0]["id"].encode() in body
            assert len(frames) == 1
            assert await stopping == 0


async def test_wake_without_a_pod_is_refused(tmp_path: Path) -> None:
    async with server_process(tmp_path) as process:
        url = f"{process.server.internal_url}/internal/v1/wake"
        for token, status in (("nobody", 401), ("operator-token", 403)):
            with pytest.raises(aiohttp.WSServerHandshakeError) as raised:
                await process.server.http.ws_connect(url, headers={"Authorization": f"Bearer {token}"})
            assert raised.value.status == status
        assert pod_token("x")
