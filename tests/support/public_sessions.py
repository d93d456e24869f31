"""What sessions of the public API stand on in component tests: an applied catalog, and the turn of a harness."""

import hashlib
from dataclasses import dataclass
from typing import Any

from managed_agents.contracts.api.agents import agent_id_of, revision_for
from managed_agents.contracts.api.environments import environment_id_of
from managed_agents.contracts.events import types
from support.kube import FakeKube, Manifest, kind_of
from support.server import TestServer, agent_event, message
from support.waiting import until

NAMESPACE = "team-a"
HEADERS = {"anthropic-workspace-id": NAMESPACE}
TOOLSET: Any = {"type": "agent_toolset_20260401"}
CUSTOM: Any = {"type": "custom", "name": "look", "description": "Looks.", "input_schema": {"type": "object"}}
PRICE = {"currency": "USD", "perMillionTokens": {"input": "5", "output": "25"}}


@dataclass(frozen=True)
class Shelf:
    """The ids of one agent and one environment in `NAMESPACE`, with a provider that serves the agent's model."""

    agent: str
    environment: str


def uid_for(name: str) -> str:
    digest = hashlib.sha256(name.encode()).hexdigest()
    return "-".join((digest[:8], digest[8:12], digest[12:16], digest[16:20], digest[20:32]))


def apply(kube: FakeKube, plural: str, name: str, spec: Manifest, namespace: str = NAMESPACE, **meta: Any) -> Manifest:
    """Create an object as `kubectl` does; its UID follows from its name."""
    metadata = {"name": name, "uid": uid_for(f"{plural}/{namespace}/{name}"), **meta}
    return kube.create(kind_of(plural), namespace, {"metadata": metadata, "spec": spec})


def stock(kube: FakeKube, namespace: str = NAMESPACE) -> Shelf:
    """Apply an agent with its first version, an environment and a provider."""
    spec = {"model": {"id": "simulated"}, "system": "You repair.", "tools": [TOOLSET]}
    agent = apply(kube, "agents", "bot", spec, namespace)
    kube.create(kind_of("controllerrevisions"), namespace, revision_for(agent, 1))
    environment = apply(kube, "environments", "python", {"config": {"type": "cloud"}}, namespace)
    models = [{"id": "simulated", "listPrice": PRICE}, {"id": "unpriced"}]
    secret = {"secretKeyRef": {"name": "s", "key": "k"}}
    apply(kube, "modelproviders", "sim", {"endpoint": "http://m", "apiKey": secret, "models": models}, namespace)
    return Shelf(agent=agent_id_of(agent), environment=environment_id_of(environment))


async def stocked(server: TestServer, namespace: str = NAMESPACE) -> Shelf:
    """Apply the same while the server runs, and wait until it has seen all."""
    shelf = stock(server.kube, namespace)
    objects = server.objects
    await until(lambda: objects.model_providers.by_name(namespace, "sim") is not None)
    await until(lambda: objects.agents.find(shelf.agent) is not None)
    await until(lambda: objects.environments.find(shelf.environment) is not None)
    return shelf


def session_spec(**changes: Any) -> Manifest:
    """A Session's spec as in a manifest."""
    return {"agentRef": {"name": "bot", "version": 1}, "environmentRef": {"name": "python"}, **changes}


async def turn(server: TestServer, session_id: str, *, cents: str = "3", reason: str = "end_turn") -> None:
    """Let a harness run one turn to its end."""
    pod = f"pod-{session_id}"
    await server.register(session_id, pod)
    async with server.wake(pod) as socket:
        epoch = (await server.leased(socket))["epoch"]
        await emit(server, session_id, epoch, agent_event(types.STATUS_RUNNING))
        usage = {"input_tokens": 1, "list_cost": {"amount": cents, "currency": "USD"}, "active_seconds": 2.5}
        await emit(
            server,
            session_id,
            epoch,
            agent_event(types.SESSION_USAGE, usage=usage),
            agent_event(types.STATUS_IDLE, stop_reason={"type": reason}, stop_details=None),
        )


async def emit(server: TestServer, session_id: str, epoch: int, *events: Any) -> None:
    body = {"epoch": epoch, "events": list(events)}
    status, answer = await server.harness(f"pod-{session_id}", "POST", f"/sessions/{session_id}/events", body)
    assert status == 200, answer


async def event_types(server: TestServer, session_id: str) -> list[str]:
    """The types of a session's events so far."""
    status, answer = await server.user("GET", f"/sessions/{session_id}/events")
    assert status == 200, answer
    return [event["type"] for event in answer["data"]]


HELLO: Any = message("Hello")
