"""Whatever happens in whatever order, a warm sandbox serves one session, and none is retired under it."""

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st

from managed_agents.contracts.errors import ConflictError, NotFoundError
from managed_agents.eventlog.sqlite import open_event_log
from managed_agents.eventlog.store import EventLog
from managed_agents.eventlog.warm_sandboxes import PoolClaim, SandboxPool, WantedSandbox, WarmReport
from support.requirements import requirement

SESSIONS, PODS = 3, 4
Step = tuple[str, int]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["claim", "claim", "claim", "release", "delete"]), st.integers(0, SESSIONS - 1)),
        st.tuples(
            st.sampled_from(["serve", "serve", "add", "ready", "pending", "gone", "lost", "retire"]),
            st.integers(0, PODS - 1),
        ),
        st.tuples(st.just("roll"), st.integers(1, 2)),
    ),
    min_size=5,
    max_size=40,
)


class World:
    """The log, and what a reader of its answers must never see."""

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self.epochs: dict[str, int] = {}
        self.pool = 1
        self.owner: dict[str, str] = {}
        self.retired: set[str] = set()
        self.taken = 0
        self.serial = dict.fromkeys(range(PODS), 0)

    def pod(self, number: int) -> str:
        return f"ma-{number}-{self.serial[number]}"

    async def step(self, what: str, number: int) -> None:
        with contextlib.suppress(NotFoundError, ConflictError):
            await getattr(self, f"_{what}")(number)

    async def _claim(self, number: int) -> None:
        name = f"sesn_{number:032}"
        if name not in self.epochs:
            await self.log.put(config(name), nothing)
            self.epochs[name] = (await self.log.take_epoch(name)).epoch
        claim = PoolClaim(environment="env_1", generation=self.pool)
        sandbox = await self.log.claim_sandbox(name, self.epochs[name], claim)
        self.taken += sandbox.state == "ready"
        assert self.owner.setdefault(sandbox.pod_name, name) == name
        assert sandbox.pod_name not in self.retired

    async def _release(self, number: int) -> None:
        name = f"sesn_{number:032}"
        await self.log.release(name, self.epochs.get(name, 1))
        self.epochs[name] = (await self.log.take_epoch(name)).epoch

    async def _delete(self, number: int) -> None:
        await self.log.delete(f"sesn_{number:032}")

    async def _add(self, number: int) -> None:
        self.serial[number] += 1
        has_claim = number % 2 == 0
        place = {"namespace": "team-a", "environment": "env_1", "pool": f"p-{self.pool}"}
        await self.log.warm.add(WantedSandbox(**place, pod_name=self.pod(number), has_claim=has_claim))

    async def _serve(self, number: int) -> None:
        await self._add(number)
        await self._ready(number)

    async def _ready(self, number: int) -> None:
        await self._report(number, "ready", address="10.0.0.1:7400")

    async def _pending(self, number: int) -> None:
        await self._report(number, "pending")

    async def _gone(self, number: int) -> None:
        await self._report(number, "gone")
        if self.pod(number) not in self.owner:
            self.retired.add(self.pod(number))

    async def _report(self, number: int, state: Any, address: str | None = None) -> None:
        name = self.pod(number)
        report = WarmReport(namespace="team-a", pod_name=name, state=state, pod_uid=f"uid-of-{name}", address=address)
        await self.log.warm.report(report)

    async def _lost(self, number: int) -> None:
        """Lose the sandbox of whoever has it."""
        name = self.pod(number)
        session = self.owner.get(name)
        if session is None:
            return
        sandbox = await self.log.sandbox(session, name)
        await self.log.report_sandbox(session, replace(sandbox, state="gone"))

    async def _retire(self, number: int) -> None:
        name = self.pod(number)
        is_workspace = await self.log.warm.retire("team-a", name)
        self.retired.add(name)
        session = self.owner.get(name)
        living = session is not None and session in await self.log.sessions()
        if living:
            assert session is not None
            found = await self.log.session(session)
            assert found.sandbox is None or found.sandbox.pod_name != name
            assert is_workspace == (found.workspace == name)
        else:
            assert not is_workspace

    async def _roll(self, number: int) -> None:
        self.pool = number
        pool = SandboxPool(namespace="team-a", environment="env_1", generation=number, pool=f"p-{number}")
        await self.log.warm.put_pool(pool)


def nothing(_: Mapping[str, Any], __: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return []


def config(name: str) -> dict[str, Any]:
    agent = {"id": "agent_1", "version": 1}
    return {
        "id": name,
        "uid": name,
        "namespace": "team-a",
        "name": name,
        "created_at": "2026-01-02T00:00:00Z",
        "agent": agent,
    }


@requirement("warm-sandbox-once")
@given(steps=STEPS)
@settings(max_examples=60, deadline=None)
def test_no_sandbox_serves_two_sessions_and_none_is_retired_under_one(steps: list[Step]) -> None:
    async def run() -> None:
        def on_fatal(error: BaseException) -> None:
            raise AssertionError(error)

        log = open_event_log(None, on_fatal=on_fatal)
        world = World(log)
        await world.step("roll", 1)
        for what, number in steps:
            await world.step(what, number)
        await log.close()
        event(f"claimed from the pool: {min(world.taken, 3)}")

    asyncio.run(run())
