"""What a kubelet and the containers would do for the harness Pods of real Deployments: a token, and a connection."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from bench.scale.harnesses import Harness
from bench.scale.installation import NAMESPACE
from bench.scale.raw import Raw
from bench.scale.tally import Tally
from managed_agents.contracts import names

_PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
_HARNESSES = f"labelSelector={names.LABEL_COMPONENT}%3D{names.COMPONENT_HARNESS}"


@dataclass(kw_only=True)
class Kubelet:
    """Starts a simulated harness in each harness Pod that runs, and ends it when the Pod goes."""

    http: aiohttp.ClientSession
    raw: Raw
    url: str
    tally: Tally
    living: dict[str, "asyncio.Task[None]"] = field(default_factory=dict)
    seen: int = 0
    """Pods that have run so far."""

    async def run(self) -> None:
        """Follow the Pods until cancelled."""
        while True:
            with suppress(aiohttp.ClientError, TimeoutError, ValueError):
                async for change in self.raw.watch(_PODS, _HARNESSES):
                    self._take(change)

    def _take(self, change: dict[str, Any]) -> None:
        if change["type"] not in ("ADDED", "MODIFIED", "DELETED"):
            return
        metadata = change["object"]["metadata"]
        uid, name = str(metadata["uid"]), str(metadata["name"])
        is_going = change["type"] == "DELETED" or metadata.get("deletionTimestamp")
        if is_going and uid in self.living:
            self.living.pop(uid).cancel()
        elif (
            not is_going and uid not in self.living and (change["object"].get("status") or {}).get("phase") == "Running"
        ):
            self.seen += 1
            self.living[uid] = asyncio.create_task(self._live(name, uid))

    async def _live(self, name: str, uid: str) -> None:
        token = await self.raw.pod_token(NAMESPACE, names.HARNESS_SERVICE_ACCOUNT, name, uid)
        while True:
            try:
                if await Harness(self.http, self.url, token, self.tally).run(stays=True):
                    return  # it served its session; what replaces it is another Pod
            except (aiohttp.ClientError, RuntimeError) as problem:
                self.tally.failures[f"harness: {type(problem).__name__}: {str(problem)[:80]}"] += 1
            await asyncio.sleep(0.1)  # as the respawner's pause

    async def stop(self) -> None:
        """End every harness."""
        lives = list(self.living.values())
        for life in lives:
            life.cancel()
        await asyncio.gather(*lives, return_exceptions=True)


@asynccontextmanager
async def kubelet(http: aiohttp.ClientSession, raw: Raw, url: str, tally: Tally) -> AsyncIterator[Kubelet]:
    """Run the harnesses of Deployments until the block ends."""
    made = Kubelet(http=http, raw=raw, url=url, tally=tally)
    following = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await made.stop()
