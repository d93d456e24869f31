"""B10: what the proxy adds to a model request: one at a time, and many streams at once."""

import asyncio
import tempfile
from pathlib import Path

import aiohttp

from bench.peers.model_proxies import first_token, model_and_proxy, up
from bench.stage import Order, Sample, Samples, Side, Stage

STREAMS = {1: 300, 20: 30, 100: 8}
"""Requests at once, and how often."""


async def _at_once(http: aiohttp.ClientSession, url: str, count: int) -> list[float]:
    return await asyncio.gather(*(first_token(http, url) for _ in range(count)))


async def _measure(order: Order) -> Samples:
    connector = aiohttp.TCPConnector(limit=0)
    with tempfile.TemporaryDirectory() as folder:
        async with (
            model_and_proxy(Path(folder)) as (direct, proxy),
            aiohttp.ClientSession(connector=connector) as http,
        ):
            await up(http, direct)
            await up(http, proxy)
            for count, rounds in STREAMS.items():
                case = f"{count} at once"
                for _ in range(order.count(rounds)):
                    for side, url in ((Side.TWIN, direct), (Side.PATH, proxy), (Side.FLOOR, direct)):
                        for value in await _at_once(http, url, count):
                            yield Sample(case=case, value=value, side=side)


STAGE = Stage(
    id="B10",
    title="the proxy before a model",
    path="model request → first text, through the proxy, over plain HTTP",
    floor="the simulated model asked directly",
    target="+0.6/5 ms",
    seconds_max=240,
    alone=_measure,
    is_quick=False,
)
