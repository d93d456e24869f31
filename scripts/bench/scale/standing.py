"""A stock of simulated harnesses that never runs out: for how many wakes the server carries, whatever Deployments do.

Each Pod is real, bound to a node of kwok. A harness offers itself under a Deployment's UID of its own, as the operator
would, serves one session's turn, releases it, and comes back as another Deployment's with another token: what the
server and the kube-apiserver's TokenReview see is a new harness each time. No Deployment exists under these UIDs.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp

from bench.pacing import until
from bench.scale.harnesses import Harness
from bench.scale.installation import NAMESPACE
from bench.scale.raw import Raw
from bench.scale.tally import Tally
from managed_agents.contracts import names
from managed_agents.contracts.errors import ManagedAgentsError
from managed_agents.operator.actions import OfferHarness
from managed_agents.operator.server_api import ServerApi

MAKING_AT_ONCE = 8
BROKEN = (aiohttp.ClientError, ManagedAgentsError, RuntimeError, TimeoutError)
"""What may go wrong in a harness under load; counted, and told with the load's figures."""
RUNNING_SECONDS = 120.0
TOKENS_EACH = 6
"""Tokens of a Pod, used in turn; a verdict lasts ten seconds, so a token that comes back sooner is not reviewed."""
CONNECTING_SECONDS = 60.0

_PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
_LABEL = "bench=standing"


@dataclass(slots=True, kw_only=True)
class _Slot:
    name: str
    uid: str
    tokens: list[str]
    serial: int = 0


@asynccontextmanager
async def standing(
    http: aiohttp.ClientSession, raw: Raw, server: ServerApi, url: str, tally: Tally, *, count: int
) -> AsyncIterator[None]:
    """Keep so many harnesses in line until the block ends."""
    slots = await _slots(raw, count)
    lives = [asyncio.create_task(_live(slot, http, server, url, tally)) for slot in slots]
    try:
        yield
    finally:
        for life in lives:
            life.cancel()
        await asyncio.gather(*lives, return_exceptions=True)
        await _remove(raw)


async def _live(slot: _Slot, http: aiohttp.ClientSession, server: ServerApi, url: str, tally: Tally) -> None:
    while True:
        name = f"standing-{slot.name}-{slot.serial}"
        offer = OfferHarness(
            namespace=NAMESPACE,
            image="",
            pod_name=slot.name,
            pod_uid=slot.uid,
            deployment_name=name,
            deployment_uid=str(uuid.uuid4()),
        )
        token = slot.tokens[slot.serial % len(slot.tokens)]
        slot.serial += 1
        try:
            await server.offer_harness(offer)
            await Harness(http, url, token, tally).run(stays=False)
        except BROKEN as problem:
            tally.failures[f"harness: {type(problem).__name__}: {str(problem)[:80]}"] += 1
            await asyncio.sleep(1.0)


async def _slots(raw: Raw, count: int) -> list[_Slot]:
    """Make the Pods, wait until they run, and ask for their tokens."""
    gate = asyncio.Semaphore(MAKING_AT_ONCE)

    async def made(number: int) -> None:
        async with gate:
            await raw.call("POST", _PODS, _pod(f"standing-{number:04d}"))

    async def slot(name: str, uid: str) -> _Slot:
        async with gate:
            account = names.HARNESS_SERVICE_ACCOUNT
            tokens = [await raw.pod_token(NAMESPACE, account, name, uid) for _ in range(TOKENS_EACH)]
        return _Slot(name=name, uid=uid, tokens=tokens)

    await asyncio.gather(*(made(number) for number in range(count)))

    async def all_run() -> bool:
        return sum(item["status"].get("phase") == "Running" for item in await _pods(raw)) >= count

    await until(all_run, seconds=RUNNING_SECONDS, every=1.0)
    found = [item["metadata"] for item in await _pods(raw)]
    return await asyncio.gather(*(slot(item["name"], item["uid"]) for item in found))


async def _pods(raw: Raw) -> list[dict[str, dict[str, str]]]:
    return list((await raw.call("GET", f"{_PODS}?labelSelector={_LABEL}"))["items"])


async def _remove(raw: Raw) -> None:
    await raw.call("DELETE", f"{_PODS}?labelSelector={_LABEL}&gracePeriodSeconds=0")


def _pod(name: str) -> dict[str, object]:
    small = {"requests": {"cpu": "30m", "memory": "112Mi"}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"bench": "standing"}},
        "spec": {
            "serviceAccountName": names.HARNESS_SERVICE_ACCOUNT,
            "automountServiceAccountToken": False,
            "containers": [{"name": "harness", "image": "none", "resources": small}],
        },
    }
