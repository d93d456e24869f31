"""P2: what a proxy adds to the first token of a model: ours beside LiteLLM's, before the same simulated model."""

import asyncio
import json
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from bench.pacing import until
from bench.peers.home import START_SECONDS, environment, installed, serving
from bench.stage import Order, Sample, Samples, Side, Stage
from managed_agents.contracts.ports import PROXY_MODEL_PORT

REQUESTS = 200
LOOPBACK = "127.0.0.77"
"""Our proxy's ports are fixed; an address of its own keeps them apart from other proxies of this machine."""
KEY = "sk-bench"
HEADERS = {"x-api-key": KEY, "Authorization": f"Bearer {KEY}", "anthropic-version": "2023-06-01"}
BODY = {"model": "simulated", "max_tokens": 100, "stream": True, "messages": [{"role": "user", "content": "hello"}]}


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


async def first_token(http: aiohttp.ClientSession, url: str) -> float:
    """Send a request; return the milliseconds to the response's first text. Raises: RuntimeError, ClientError."""
    started = time.monotonic()
    async with http.post(f"{url}/v1/messages", json=BODY, headers=HEADERS) as answer:
        if answer.status != 200:
            raise RuntimeError(f"{url}: {answer.status} {(await answer.text())[:300]}")
        first = 0.0
        async for line in answer.content:
            if not first and b"content_block_delta" in line:
                first = time.monotonic()
    return (first - started) * 1000


async def up(http: aiohttp.ClientSession, url: str) -> None:
    """Wait until requests are answered there. Raises: TimeoutError."""

    async def answers() -> bool:
        try:
            await first_token(http, url)
        except (aiohttp.ClientError, RuntimeError):
            return False
        return True

    await until(answers, seconds=START_SECONDS, every=0.5)


@asynccontextmanager
async def model_and_proxy(folder: Path) -> AsyncIterator[tuple[str, str]]:
    """Run the simulated model, and our proxy before it; yields its URL and that of the proxy's model listener."""
    model = free_port()
    direct = f"http://127.0.0.1:{model}"
    provider = {"name": "p", "endpoint": direct, "api_key": "bench", "default": True, "models": []}
    providers, token = folder / "providers.json", folder / "token"
    providers.write_text(json.dumps({"providers": [provider]}))
    token.write_text("none")
    simulator = (sys.executable, "-m", "managed_agents.simulator", "--host", "127.0.0.1", "--port", str(model))
    ours = (
        *(sys.executable, "-m", "managed_agents.proxy", "--server-url", "http://127.0.0.1:9"),
        *("--loopback", LOOPBACK, "--health-host", LOOPBACK, "--providers-file", str(providers)),
        *("--token-file", str(token)),
    )
    async with serving(*simulator), serving(*ours):
        yield direct, f"http://{LOOPBACK}:{PROXY_MODEL_PORT}"


@asynccontextmanager
async def _proxies(folder: Path) -> AsyncIterator[tuple[str, dict[str, str]]]:
    """Run the simulated model, and a proxy of each kind before it; yields its URL and theirs."""
    other, config = free_port(), folder / "litellm.json"
    async with model_and_proxy(folder) as (direct, ours):
        known = {"model": "anthropic/simulated", "api_base": direct, "api_key": "bench"}
        models = [{"model_name": "simulated", "litellm_params": known}]
        config.write_text(json.dumps({"model_list": models, "general_settings": {"master_key": KEY}}))
        litellm = str(await asyncio.to_thread(installed) / "litellm")
        theirs = (litellm, "--config", str(config), "--host", "127.0.0.1", "--port", str(other), "--telemetry", "False")
        async with serving(*theirs, variables=environment()):
            yield direct, {"Managed Agents: proxy": ours, "LiteLLM: proxy": f"http://127.0.0.1:{other}"}


async def _measure(order: Order) -> Samples:
    with tempfile.TemporaryDirectory() as folder:
        async with _proxies(Path(folder)) as (direct, proxies), aiohttp.ClientSession() as http:
            for url in (direct, *proxies.values()):
                await up(http, url)
            turns = [(Side.FLOOR, direct), (Side.TWIN, direct), *proxies.items()]
            for _ in range(order.count(REQUESTS)):
                turns = [*turns[1:], turns[0]]  # who comes first finds the model at rest
                for who, url in turns:
                    value = await first_token(http, url)
                    if not isinstance(who, Side):
                        yield Sample(case=who, value=value)
                        continue
                    for case in proxies:
                        yield Sample(case=case, value=value, side=who)


STAGE = Stage(
    id="P2",
    title="a model's proxy beside LiteLLM's",
    path="request → first token, through a proxy",
    floor="the simulated model asked directly",
    target="none: a comparison",
    seconds_max=300,
    alone=_measure,
    is_quick=False,
    note="LiteLLM translates between providers, keeps budgets and logs; ours passes bytes on and adds a key.",
)
