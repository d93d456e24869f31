"""First tool calls of sessions whose harness is there and whose sandbox is not, and the bare Pods beside them."""

import asyncio
import itertools
import time

from bench.rows.tools import bash, ran
from bench.world.raw import sightings
from bench.world.world import World, is_ready
from managed_agents.kube.resources import PODS, Manifest
from support.cluster import kubectl

_numbers = itertools.count()


async def leased(world: World, count: int, environment: str | None = None) -> list[str]:
    """Create sessions, one after the other, whose harness has taken its first turn and waits."""
    made = []
    for number in range(count):
        session = await world.api.create(f"ready {number}?", environment=environment)
        await world.api.idle(session)
        made.append(session)
    return made


async def first_output(world: World, session: str) -> float:
    """Let a session make its first tool call; return the milliseconds from its commit to the result's."""
    return (await ran(world, session, bash("echo first")))[0]


async def bare_pods(world: World, image: str, count: int) -> list[float]:
    """Create that many Pods at once; return the milliseconds until each is ready, as a watch tells."""
    label = f"bare-{next(_numbers)}"
    made: dict[str, str] = {}
    async with sightings(world.kube, PODS, is_ready, labels=f"bench={label}") as ready:

        async def start(number: int) -> float:
            name, started = f"{label}-{number}", time.monotonic()
            pod = await world.kube.create(PODS, world.namespace.name, bare_pod(name, label, image))
            made[name] = pod["metadata"]["uid"]
            return (await ready.seen(name) - started) * 1000

        found = await asyncio.gather(*(start(number) for number in range(count)))
    for name, uid in made.items():
        await world.kube.delete(PODS, world.namespace.name, name, uid=uid, grace_seconds=0)
    return found


async def executed(world: World, image: str, count: int) -> list[float]:
    """Run `echo` by `kubectl exec` in a Pod that waits, as one of a warm Deployment does; return the milliseconds."""
    name = f"waits-{next(_numbers)}"
    async with sightings(world.kube, PODS, is_ready, labels=f"bench={name}") as ready:
        pod = await world.kube.create(PODS, world.namespace.name, bare_pod(name, name, image))
        await ready.seen(name)
    found = []
    for _ in range(count):
        started = time.monotonic()
        await asyncio.to_thread(kubectl, "exec", "-n", world.namespace.name, name, "--", "bash", "-c", "echo first")
        found.append((time.monotonic() - started) * 1000)
    await world.kube.delete(PODS, world.namespace.name, name, uid=pod["metadata"]["uid"], grace_seconds=0)
    return found


async def sandbox_image() -> str:
    """Return the image that the installation gives to sandboxes."""
    path = '{.spec.template.spec.containers[0].env[?(@.name=="MANAGED_AGENTS_SANDBOX_IMAGE")].value}'
    arguments = (
        "get",
        "deployment",
        "-n",
        "managed-agents-system",
        "managed-agents-operator",
        "-o",
        f"jsonpath={path}",
    )
    return (await asyncio.to_thread(kubectl, *arguments)).strip()


def bare_pod(name: str, label: str, image: str) -> Manifest:
    """Return a Pod of one container that does nothing, within the rules that sandboxes keep."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"bench": label}},
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 1000,
                "runAsGroup": 1000,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "bare",
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["bash", "-c", "echo first; exec sleep 3600"],
                    "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "256Mi"}},
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }
            ],
        },
    }
