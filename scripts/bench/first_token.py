"""B3: user event posted → first streamed token, less the model's own time; floor: the model called directly."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp

from bench.stats import Row

TURN_SECONDS_MAX = 30
WARM_UP = 5


async def measure(*, api: str, key: str, session: str, model: str, turns: int) -> Row:
    """Time `turns` turns of a leased, idle session and as many direct model calls, alternating."""
    headers = {"Authorization": f"Bearer {key}"}
    samples: list[float] = []
    floor: list[float] = []
    async with aiohttp.ClientSession(headers=headers) as client, aiohttp.ClientSession() as direct:
        url = f"{api}/v1/sessions/{session}/events"
        async with client.get(f"{url}/stream", params={"event_deltas[]": "agent.message"}, timeout=_ENDLESS) as stream:
            events = _frames(stream)
            for number in range(turns + WARM_UP):
                added = await _turn(client, direct, url, events, model)
                called = await _direct(direct, model)
                if number >= WARM_UP:
                    samples.append(added)
                    floor.append(called)
    return Row(
        name="event posted → first token, model's time off",
        samples=samples,
        floor_name="the same model called directly, its own time off",
        floor=floor,
    )


_DIRECT_HEADERS = {"x-api-key": "bench", "anthropic-version": "2023-06-01"}
_ENDLESS = aiohttp.ClientTimeout(total=None, sock_read=TURN_SECONDS_MAX)


async def _turn(
    client: aiohttp.ClientSession,
    direct: aiohttp.ClientSession,
    url: str,
    events: AsyncIterator[dict[str, Any]],
    model: str,
) -> float:
    content = [{"type": "text", "text": "hello"}]
    before = await _last_request(direct, model)
    started = time.perf_counter()
    post = asyncio.create_task(client.post(url, json={"events": [{"type": "user.message", "content": content}]}))
    first = None
    async for event in events:
        if first is None and event["type"] == "event_delta":
            first = time.perf_counter()
        if event["type"] == "session.status_idle":
            break
    answer = await post
    answer.raise_for_status()
    if first is None:
        raise RuntimeError("a turn ended without a streamed token")
    record = (await _requests(direct, model, after=before))[0]
    return (first - started) * 1000 - float(record["first_token_ms"])


async def _direct(direct: aiohttp.ClientSession, model: str) -> float:
    body = {
        "model": "simulated",
        "max_tokens": 100,
        "stream": True,
        "messages": [{"role": "user", "content": "hello"}],
    }
    before = await _last_request(direct, model)
    started = time.perf_counter()
    async with direct.post(f"{model}/v1/messages", json=body, headers=_DIRECT_HEADERS) as answer:
        answer.raise_for_status()
        async for line in answer.content:
            if b"content_block_delta" in line:
                break
        first = time.perf_counter()
        await answer.read()
    record = (await _requests(direct, model, after=before))[0]
    return (first - started) * 1000 - float(record["first_token_ms"])


async def _requests(direct: aiohttp.ClientSession, model: str, *, after: int) -> list[dict[str, Any]]:
    async with direct.get(f"{model}/_simulator/requests", params={"after": after}) as answer:
        recorded: list[dict[str, Any]] = (await answer.json())["data"]
    return recorded


async def _last_request(direct: aiohttp.ClientSession, model: str) -> int:
    async with direct.get(f"{model}/_simulator/requests", params={"after": 1 << 60}) as answer:
        return int((await answer.json())["last"])


async def _frames(stream: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    async for line in stream.content:
        if line.startswith(b"data: "):
            yield json.loads(line[6:])
