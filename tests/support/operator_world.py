"""A world for the operator's component tests: fake kube-apiserver and nodes, a real event log server, a manual clock.

Nothing runs by itself: `settle()` reconciles until nothing is ready, `advance()` moves the clock, `pull()` brings the
server's summaries as its watch would.
"""

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp

from managed_agents.contracts import names
from managed_agents.kube.access import KubeAccess
from managed_agents.kube.resources import NODES
from managed_agents.operator.factory import Operator, build
from managed_agents.operator.keys import Key
from managed_agents.operator.permissions import CLUSTER, SYSTEM, TENANT, allowed
from managed_agents.operator.settings import SessionSettings, Settings
from managed_agents.operator.watched import WATCHED, selector_of
from support.kube import Change, FakeKube, Manifest, kind_of, matches
from support.kube_http import FakeApiServer, serving
from support.kube_nodes import FakeNodes
from support.server import OPERATOR_TOKEN, TestServer, agent_event, server_in_process

NAMESPACE = "team-a"
STEPS_MAX = 500


@dataclass
class ManualClock:
    """Both clocks stand still until told."""

    moment: datetime = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    seconds: float = 1000.0

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)
        self.seconds += seconds


@dataclass(kw_only=True)
class World:
    clock: ManualClock
    kube: FakeKube
    api: FakeApiServer
    nodes: FakeNodes
    server: TestServer
    settings: Settings
    access: KubeAccess
    http: aiohttp.ClientSession
    operator: Operator
    deaf: bool = False
    """Watch events, and the server's, are lost while this is set."""
    essences: dict[str, str] = field(default_factory=dict)
    failing: bool = False
    """Writes fail, so steps need time for their retries."""

    def hear(self, change: Change) -> None:
        """Be the watches."""
        resource = next((item for item in WATCHED if item.plural == change.plural), None)
        if resource is None or self.deaf or not matches(change.object, selector_of(resource)):
            return
        if change.type == "DELETED":
            self.operator.feed.gone(resource, change.object)
        else:
            self.operator.feed.seen(resource, change.object)
        key = _reconciled(change)
        if key is not None and change.type != "DELETED" and self._is_news_to_kopf(change):
            self.operator.queue.add(key)

    def _is_news_to_kopf(self, change: Change) -> bool:
        """kopf's own handlers run for another specification, a pause or a deletion, and for nothing else."""
        metadata = change.object["metadata"]
        paused = (metadata.get("annotations") or {}).get(names.ANNOTATION_PAUSED)
        essence = json.dumps([change.object.get("spec"), paused, metadata.get("deletionTimestamp")], sort_keys=True)
        if self.essences.get(metadata["uid"]) == essence:
            return False
        self.essences[metadata["uid"]] = essence
        return True

    async def settle(self) -> None:
        """Reconcile until nothing is ready. Retries wait for `advance`."""
        await self._drain()
        if await self._hear_of_harnesses():
            await self._drain()

    async def _hear_of_harnesses(self) -> bool:
        """Be the server's watch where it was still open if a warm harness takes a session."""
        waiting = (
            []
            if self.deaf
            else [
                item.id
                for item in self.operator.summaries.all()
                if item.wanted and not item.needs_pod and item.lease_pod_uid is None and item.harness is None
            ]
        )
        for session in waiting:
            for _ in range(STEPS_MAX):
                status, summary = await self.server.operator("GET", f"/sessions/{session}")
                if status != 200 or summary["needs_pod"] or summary["leased"] or not summary["wanted"]:
                    break
            if status == 200:
                self.operator.watch.take(summary)
        return bool(waiting)

    async def _drain(self) -> None:
        queue = self.operator.queue
        for _ in range(STEPS_MAX):
            key = queue.state.take(self.clock.monotonic())
            if key is None:
                return
            await queue.process(key)
            queue.state.done(key)
        raise AssertionError(f"does not settle: {queue.state.ready}")

    async def count_nodes(self, number: int) -> None:
        """Let the cluster have that many nodes more, and the operator count them."""
        for _ in range(number):
            self.nodes.add()
        self.operator.starts.resize(await self.operator.kube.count(NODES))
        await self.settle()

    async def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await self.settle()

    async def pull(self) -> None:
        """Bring every summary, as the server's watch does."""
        for session in self.kube.list("sessions"):
            status, summary = await self.server.operator("GET", f"/sessions/{session_id(session)}")
            if status == 200:
                self.operator.watch.take(summary)
        await self.settle()

    async def restart(self) -> None:
        """Kill the operator and start another one."""
        self.operator = build(
            self.settings, self.access, self.http, clock=self.clock, jitter=lambda: 0.0, soon_seconds=0.0
        )
        await self.operator.sweeper.sweep()
        for namespace in {place[0] for place in self.kube.objects.get("modelproviders", {})}:
            self.operator.queue.add(Key("Providers", namespace))
        await self.pull()

    def create(self, plural: str, name: str, spec: Manifest, **metadata: Any) -> Manifest:
        body = {"metadata": {"name": name, **metadata}, "spec": spec}
        return self.kube.create(kind_of(plural), NAMESPACE, body)

    def change(self, plural: str, name: str, spec: Manifest) -> Manifest:
        return self.kube.merge(kind_of(plural), NAMESPACE, name, {"spec": spec})

    def get(self, plural: str, name: str) -> Manifest:
        return self.kube.get(plural, NAMESPACE, name)

    def names(self, plural: str) -> list[str]:
        return [item["metadata"]["name"] for item in self.kube.list(plural, NAMESPACE)]

    def condition(self, plural: str, name: str, kind: str) -> dict[str, Any]:
        conditions = self.get(plural, name)["status"]["conditions"]
        found: dict[str, Any] = next(item for item in conditions if item["type"] == kind)
        return found

    def events(self) -> list[tuple[str, str]]:
        """Type and reason of each Kubernetes Event, in order."""
        found = [change.object for change in self.kube.history if change.plural == "events"]
        return [(event["type"], event["reason"]) for event in found]

    async def catalog(self, **environment: Any) -> None:
        """Make a provider with its key, an Agent and an Environment."""
        self.kube.create(kind_of("secrets"), NAMESPACE, {"metadata": {"name": "key"}, "data": {"api-key": "c2VjcmV0"}})
        provider = {"endpoint": "http://model", "apiKey": {"secretKeyRef": {"name": "key", "key": "api-key"}}}
        self.create("modelproviders", "simulated", {**provider, "default": True})
        self.create("agents", "bot", {"model": {"id": "simulated"}, "system": "You repair."})
        self.create("environments", "python", {"config": {"type": "cloud"}, **environment})
        await self.settle()

    def session(self, name: str = "repair", *messages: str, **spec: Any) -> Manifest:
        events = [message(f"e{index}", text) for index, text in enumerate(messages)]
        body = {"agentRef": {"name": "bot"}, "environmentRef": {"name": "python"}, "events": events, **spec}
        return self.create("sessions", name, body)

    async def outlive(self, name: str) -> None:
        """Make a session as the public API does, with one turn, and let its time to live pass."""
        self.session(name, "Hello.", ttlSecondsAfterIdle=60)
        marked = {"metadata": {"annotations": {"managedagents.dev/origin": "api"}}}
        self.kube.merge(kind_of("sessions"), NAMESPACE, name, marked)
        await self.settle()
        await self.turn(name)
        await self.advance(59)
        assert self.get("sessions", name)["metadata"].get("deletionTimestamp") is None
        await self.advance(2)
        await self.settle()

    def say(self, name: str, event: str, text: str) -> None:
        """Append an event to a Session's specification."""
        events = self.get("sessions", name)["spec"]["events"]
        self.change("sessions", name, {"events": [*events, message(event, text)]})

    async def turn(self, name: str = "repair", *, ends: bool = True) -> "Turn":
        """Play the harness: lease the session by its registered Pod and open a turn."""
        session = self.get("sessions", name)
        pods = [
            pod
            for pod in self.kube.list("pods", NAMESPACE, f"{names.LABEL_SESSION}={name}")
            if pod["metadata"]["labels"][names.LABEL_COMPONENT] == "harness"
        ]
        turn = Turn(world=self, session_id=session_id(session), pod_uid=pods[0]["metadata"]["uid"])
        await turn.open()
        if ends:
            await turn.end()
        return turn


@dataclass(kw_only=True)
class Turn:
    """A harness's turn, by its calls."""

    world: World
    session_id: str
    pod_uid: str
    epoch: int = 0

    async def open(self) -> None:
        async with self.world.server.wake(self.pod_uid) as socket:
            lease = await self.world.server.leased(socket)
            self.epoch = lease["epoch"]
            path = f"/sessions/{self.session_id}/events"
            _, listed = await self.world.server.harness(self.pod_uid, "GET", path)
            inputs = [item["id"] for item in listed["events"] if item.get("processed_at") is None]
            await self.emit(agent_event("session.status_running"), processed=inputs)
        await self.world.pull()

    async def emit(self, *events: Manifest, processed: list[str] | None = None) -> None:
        body = {"epoch": self.epoch, "events": list(events), "processed": processed or []}
        path = f"/sessions/{self.session_id}/events"
        status, answer = await self.world.server.harness(self.pod_uid, "POST", path, body)
        assert status == 200, answer

    async def end(self, reason: str = "end_turn", **stop: Any) -> None:
        usage = {"input_tokens": 10, "output_tokens": 5, "active_seconds": 1.5, "list_cost": None}
        await self.emit(
            agent_event("agent.message", content=[{"type": "text", "text": "Done."}]),
            agent_event("session.usage", usage=usage),
            agent_event("session.status_idle", stop_reason={"type": reason, **stop}),
        )
        await self.world.pull()

    async def ask_sandbox(self) -> str:
        """Ask for a sandbox; return the name of its Pod."""
        body = {"epoch": self.epoch, "name": "default", "wait_seconds": 0}
        status, answer = await self.world.server.harness(
            self.pod_uid, "POST", f"/sessions/{self.session_id}/sandbox", body
        )
        assert status == 200, answer
        await self.world.pull()
        return str(answer["pod_name"])


def _reconciled(change: Change) -> Key | None:
    """What kopf's own handlers would reconcile."""
    metadata = change.object["metadata"]
    match change.plural:
        case "agents":
            return Key("Agent", metadata["namespace"], metadata["name"])
        case "environments":
            return Key("Environment", metadata["namespace"], metadata["name"])
        case "vaults":
            return Key("Vaults", metadata["namespace"])
    return None


def message(name: str, text: str) -> Manifest:
    return {"name": name, "type": "user.message", "content": [{"type": "text", "text": text}]}


def session_id(session: Manifest) -> str:
    return "sesn_" + str(session["metadata"]["uid"]).replace("-", "")


@contextlib.asynccontextmanager
async def world(tmp_path: Path, *, enforce_permissions: bool = True) -> AsyncIterator[World]:
    """Start a world; its kube-apiserver refuses what `permissions.py` does not list."""
    clock = ManualClock()
    rules = allowed(CLUSTER) | allowed(TENANT) | allowed(SYSTEM)
    api = FakeApiServer(FakeKube(now=clock.now), allowed=rules if enforce_permissions else None)
    token = _token(tmp_path)
    async with (
        serving(api),
        server_in_process(tmp_path / "log", clock=clock, kube=api.kube) as server,
        aiohttp.ClientSession() as http,
    ):
        access = KubeAccess(url=api.url)
        settings = Settings(
            session=SessionSettings(server_url=server.internal_url),
            identity="operator-0",
            namespace=names.SYSTEM_NAMESPACE,
            server_token_path=str(token),
            health_port=0,
            leader_elect=False,
            sweep_seconds=600,
            workers=4,
        )
        operator = build(settings, access, http, clock=clock, jitter=lambda: 0.0, soon_seconds=0.0)
        nodes = FakeNodes(api.kube)
        made = World(
            clock=clock,
            kube=api.kube,
            api=api,
            nodes=nodes,
            server=server,
            settings=settings,
            access=access,
            http=http,
            operator=operator,
        )
        api.kube.listeners.append(made.hear)
        yield made


def _token(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    token = folder / "token"
    token.write_text(OPERATOR_TOKEN)
    return token
