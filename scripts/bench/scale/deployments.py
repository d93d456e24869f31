"""How fast harness Deployments become ready: of kube-controller-manager alone, of a pool, and under wakes."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from bench.pacing import until
from bench.scale.figures import Load, each
from bench.scale.installation import NAMESPACE, environment, shares_of
from bench.scale.kubelet import kubelet
from bench.scale.looks import between
from bench.scale.parts import Bench
from bench.scale.tally import Tally
from bench.scale.wakes import load
from managed_agents.operator.sessions.harness_pods import harness_pod_spec
from managed_agents.operator.settings import SessionSettings

MAKING_AT_ONCE = 16
READY_SECONDS = 180.0
EVERY_SECONDS = 0.5

_DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
_ALONE = "bench=alone"


async def alone(bench: Bench, count: int, *, rates: str) -> None:
    """Make Deployments like a harness's that nobody of ours looks at; tell at which rate they become ready."""
    before, started = await bench.looks.now(), time.monotonic()
    gate = asyncio.Semaphore(MAKING_AT_ONCE)

    async def make(number: int) -> None:
        async with gate:
            await bench.raw.call("POST", _DEPLOYMENTS, _deployment(f"alone-{number:04d}"))

    await asyncio.gather(*(make(number) for number in range(count)))
    made = time.monotonic() - started
    await until(lambda: _are_ready(bench, count), seconds=READY_SECONDS, every=EVERY_SECONDS)
    ready = time.monotonic() - started
    span = between(before, await bench.looks.now())
    bench.tell(
        "deployments",
        rates=rates,
        count=count,
        made_per_second=each(count, made),
        ready_per_second=each(count, ready),
        cpu_seconds=span.cpu,
        load=span.load,
        **span.each(count),
    )
    await bench.raw.call("DELETE", f"{_DEPLOYMENTS}?labelSelector={_ALONE}")
    path = f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector={_ALONE}"

    async def is_gone() -> bool:
        return not (await bench.raw.call("GET", path))["items"]

    await until(is_gone, seconds=READY_SECONDS, every=EVERY_SECONDS)


async def _are_ready(bench: Bench, count: int) -> bool:
    items = (await bench.raw.call("GET", f"{_DEPLOYMENTS}?labelSelector={_ALONE}"))["items"]
    return sum(int((item.get("status") or {}).get("readyReplicas", 0)) for item in items) >= count


async def pool(bench: Bench, tally: Tally, *, size: int, rates: list[tuple[float, float]]) -> list[Load]:
    """Let the operator fill a pool of warm harnesses, wake sessions against it, and let it go again."""
    done: list[Load] = []
    async with kubelet(bench.http, bench.raw, bench.place.internal_url, tally) as living:
        before, started = await bench.looks.now(), time.monotonic()
        for number, share in enumerate(shares_of(size)):
            await _apply(bench, environment(f"pool-{number}", warm=share))

        async def is_full() -> bool:
            return len(living.living) >= size

        await until(is_full, seconds=READY_SECONDS, every=0.2)
        seconds = time.monotonic() - started
        await bench.looks.settled()
        span = between(before, await bench.looks.now())
        bench.tell(
            "pool", size=size, ready_per_second=each(size, seconds), seconds=round(seconds, 1), **span.each(size)
        )
        for rate, length in rates:
            done.append(await load(bench, tally, "whole_wakes", rate=rate, seconds=length))
            await until(is_full, seconds=READY_SECONDS, every=0.2)
        for number, _ in enumerate(shares_of(size)):
            await _apply(bench, environment(f"pool-{number}", warm=0))

        async def is_empty() -> bool:
            return not living.living

        await until(is_empty, seconds=READY_SECONDS, every=EVERY_SECONDS)
    await bench.looks.settled()
    return done


async def _apply(bench: Bench, manifest: Mapping[str, Any]) -> None:
    name = manifest["metadata"]["name"]
    path = f"/apis/managedagents.dev/v1alpha1/namespaces/{NAMESPACE}/environments/{name}"
    await bench.raw.call("PATCH", f"{path}?fieldManager=bench&force=true", manifest)


def _deployment(name: str) -> dict[str, Any]:
    """Return a Deployment as large as a harness's, without our labels."""
    labels = {"bench": "alone", "name": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": 1,
            "revisionHistoryLimit": 0,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": {"name": name}},
            "template": {"metadata": {"labels": labels}, "spec": harness_pod_spec(name, "", SessionSettings())},
        },
    }
