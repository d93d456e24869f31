"""Everything that a stage on the cluster is given, and how it is made and removed."""

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from bench.pacing import until
from bench.world.api import Api
from bench.world.model import Model
from bench.world.opened import SYSTEM, simulator
from bench.world.processes import Usage, usages
from bench.world.raw import Raw
from managed_agents.kube.access import KubeAccess
from managed_agents.kube.client import Kube
from managed_agents.kube.resources import PODS
from support.cluster import Namespace, environment, eventually, kubectl, tenant

NAME = "bench"
CONNECTIONS_MAX = 2000
TOKEN_HOURS = 24
"""A run with many samples outlasts the hour that a tenant's token is good for in tests."""
CONTROL = ("server", "operator")
"""Components that live on while sessions come and go."""

IDLE_SECONDS = 3600
"""Pods of the bench's sessions stay, unless a stage asks otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A tenant namespace of the running cluster, as a developer and as an administrator see it."""

    namespace: Namespace
    api: Api
    model: Model
    kube: Kube
    raw: Raw
    http: aiohttp.ClientSession
    """Without credentials, for what is not ours."""
    _ids: dict[str, str] = field(default_factory=dict)

    async def environment(self, name: str, **changes: Any) -> str:
        """Apply an Environment beside `box`, changed, and return its API id."""
        made = environment(name, idle_seconds=changes.pop("idle_seconds", IDLE_SECONDS))
        for part, values in changes.items():
            made["spec"].setdefault(part, {}).update(values)
        self._ids[name] = await asyncio.to_thread(_applied, self.namespace, made)
        return self._ids[name]

    async def environment_id(self, name: str) -> str:
        """Return the API id of an Environment of the namespace, asked for once."""
        if name not in self._ids:
            self._ids[name] = await asyncio.to_thread(_id, self.namespace, "environment", name)
        return self._ids[name]

    async def usages(self) -> Mapping[str, Usage]:
        """Return what our living Pods use, by component; session Pods of this namespace alone."""
        found = usages()
        total: dict[str, Usage] = {}
        for namespace in (SYSTEM, self.namespace.name):
            labels = "app.kubernetes.io/part-of=managed-agents"
            for pod in await self.kube.list(PODS, namespace=namespace, labels=labels):
                component = pod["metadata"]["labels"].get("app.kubernetes.io/component", "other")
                used = found.get(pod["metadata"]["uid"])
                if used is not None:
                    total[component] = total.get(component, Usage()).plus(used)
        return total

    async def blank(self, component: str, count: int, *, seconds: float = 240) -> None:
        """Wait until so many Pods of a component are ready that no session has. Raises: TimeoutError."""
        labels = f"app.kubernetes.io/component={component},managedagents.dev/pool,!managedagents.dev/session"

        async def is_full() -> bool:
            pods = await self.kube.list(PODS, namespace=self.namespace.name, labels=labels)
            return sum(map(is_ready, pods)) >= count

        await until(is_full, seconds=seconds)

    async def cleared(self, *, seconds: float = 90, environments: bool = False) -> None:
        """Delete all Sessions of the namespace and wait until none of their Pods is left.

        With `environments` those that a stage has made go too, and their warm Pods.
        """
        if environments:
            await asyncio.to_thread(_delete_environments, self.namespace.name)
        await asyncio.to_thread(_cleared, self.namespace.name, seconds)


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    """Make the tenant `bench`, with nothing in it but an Agent `bot` and an Environment `box`."""
    await asyncio.to_thread(_removed)
    access = KubeAccess.find()
    with simulator() as model, tenant(NAME) as namespace:
        box = _applied(namespace, environment(idle_seconds=IDLE_SECONDS))
        agent = _id(namespace, "agent", "bot")
        token = kubectl("create", "token", "-n", NAME, "developer", f"--duration={TOKEN_HOURS}h").strip()
        headers = {"Authorization": f"Bearer {token}"}
        connector, outside = (aiohttp.TCPConnector(limit=CONNECTIONS_MAX) for _ in range(2))
        async with (
            aiohttp.ClientSession(connector=connector, headers=headers, read_bufsize=1 << 20) as http,
            aiohttp.ClientSession(connector=outside, read_bufsize=1 << 20) as plain,
        ):
            api = Api(http, os.environ["ANTHROPIC_BASE_URL"], agent=agent, environment=box)
            kube = Kube(plain, access, manager="bench")
            raw, asked = Raw(plain, access), Model(plain, model)
            yield World(namespace=namespace, api=api, model=asked, kube=kube, raw=raw, http=plain)


def _removed() -> None:
    """Remove what an interrupted run left."""
    if subprocess.run(["kubectl", "get", "namespace", NAME], check=False, capture_output=True).returncode == 0:
        _cleared(NAME, 60)
        kubectl("delete", "namespace", NAME)


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Tell whether a Pod is ready and not on its way out."""
    conditions = pod.get("status", {}).get("conditions") or []
    said = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
    return said and "deletionTimestamp" not in pod["metadata"]


def _applied(namespace: Namespace, made: Mapping[str, Any]) -> str:
    namespace.apply(dict(made))
    return _id(namespace, "environment", made["metadata"]["name"])


def _id(namespace: Namespace, kind: str, name: str) -> str:
    read = lambda: namespace.get(kind, name).get("status", {}).get("id")  # noqa: E731 - a probe
    return str(eventually(f"{kind} {name} has an id", read, seconds=30))


def _delete_environments(namespace: str) -> None:
    listed = kubectl("get", "environments", "-n", namespace, "-o", "name").split()
    made = [name for name in listed if not name.endswith("/box")]
    if made:
        kubectl("delete", "-n", namespace, *made)


def _cleared(namespace: str, seconds: float) -> None:
    kubectl("delete", "sessions", "--all", "-n", namespace, f"--timeout={seconds:.0f}s", seconds=seconds + 10)
    selector = "app.kubernetes.io/component in (harness, sandbox),managedagents.dev/session"

    def is_empty() -> bool:
        pods = json.loads(kubectl("get", "pods", "-n", namespace, "-l", selector, "-o", "json"))["items"]
        return not pods

    eventually(f"no Pod of a session is left in {namespace}", is_empty, seconds=seconds)
