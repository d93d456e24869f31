"""Random writers, crashes by reopening, and a model: the log and its projection always agree with it (I1-I4, I13)."""

import asyncio
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from managed_agents.contracts.errors import ManagedAgentsError
from managed_agents.eventlog.records import Slice
from managed_agents.eventlog.sqlite import SqliteEventLog, open_event_log
from managed_agents.eventlog.store import Append
from support.requirements import requirement

SESSIONS = [f"sesn_{number:032x}" for number in range(3)]

Step = tuple[str, int, int]
steps = st.lists(
    st.tuples(
        st.sampled_from(["client", "keyed", "harness", "stale", "idle", "stamp", "wake", "reopen"]),
        st.integers(0, 2),
        st.integers(0, 4),
    ),
    max_size=40,
)


def nothing(_: Mapping[str, Any], __: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return []


class Run:
    """One random history: what was acknowledged is kept beside the log."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.acknowledged: dict[str, dict[int, bytes]] = {session: {} for session in SESSIONS}
        self.keyed: dict[tuple[str, int], int] = {}
        self.ids = 0
        self.log: SqliteEventLog

    async def open(self) -> None:
        def on_fatal(error: BaseException) -> None:
            raise AssertionError(error)

        self.log = open_event_log(self.directory, on_fatal=on_fatal)

    async def step(self, kind: str, session: str, number: int) -> None:
        match kind:
            case "reopen":
                await self.log.close()
                await self.open()
            case "wake":
                await self.log.take_epoch(session)
            case "client":
                await self._append(
                    Append(session=session, events=[said(number)] * (number + 1), admit=admit, sender={})
                )
            case "keyed":
                request = Append(session=session, events=[said(number)], key=str(number), admit=admit, sender={})
                head = await self._append(request)
                assert self.keyed.setdefault((session, number), head) == head
            case "stamp":
                await self._stamp(session, number)
            case _:
                await self._harness(kind, session, number)

    async def _harness(self, kind: str, session: str, number: int) -> None:
        epoch = (await self.log.session(session)).epoch - (kind == "stale")
        events = []
        for _ in range(number + 1):
            self.ids += 1
            event_type = "session.status_idle" if kind == "idle" else "agent.message"
            events.append({"id": f"sevt_{self.ids:030x}", "type": event_type, "content": []})
        try:
            await self._append(Append(session=session, events=events, epoch=epoch))
        except ManagedAgentsError:
            assert kind == "stale"

    async def _stamp(self, session: str, number: int) -> None:
        events = [event for event in await self.log.read(session, Slice()) if event.processed_at is None][:number]
        epoch = (await self.log.session(session)).epoch
        request = Append(session=session, events=[], epoch=epoch, processed=[event.id for event in events])
        appended = await self.log.append(request)
        for event in events:
            self.acknowledged[session][event.position] = event._replace(processed_at=appended.at).public()

    async def _append(self, request: Append) -> int:
        appended = await self.log.append(request)
        for event in appended.events:
            known = self.acknowledged[request.session].setdefault(event.position, event.public())
            assert known == event.public()  # a repeat shows the same event, processed meanwhile or not
        return appended.head

    async def check(self) -> None:
        for session, expected in self.acknowledged.items():
            events = await self.log.read(session, Slice())
            assert [event.position for event in events] == list(range(1, len(expected) + 1))
            assert {event.position: event.public() for event in events} == expected
            epochs = [event.epoch for event in events if event.epoch is not None]
            assert epochs == sorted(epochs)
            assert all(orjson.loads(event.logged())["position"] == event.position for event in events)
            assert len({event.id for event in events}) == len(events)


def said(number: int) -> dict[str, Any]:
    return {"type": "user.message", "content": [{"type": "text", "text": str(number)}]}


def admit(*_: Any) -> bool:
    return False


@requirement("I1", "I2", "I4", "I13")
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps)
def test_whatever_is_acknowledged_is_there_in_order_after_any_history(history: list[Step]) -> None:
    async def run() -> None:
        with tempfile.TemporaryDirectory() as directory:
            run = Run(Path(directory))
            await run.open()
            for session in SESSIONS:
                await run.log.put({"id": session, "uid": session, "namespace": "n", "name": "s"}, nothing)
            for kind, index, number in history:
                await run.step(kind, SESSIONS[index], number)
            await run.check()
            projections = [(await run.log.session(session)).projection for session in SESSIONS]
            await run.log.close()
            await run.open()
            await run.check()
            await run.log._worker.write(lambda: run.log._state.connection.execute("DELETE FROM projections"))
            run.log._state._cache.clear()
            assert [(await run.log.session(session)).projection for session in SESSIONS] == projections
            await run.log.close()

    asyncio.run(run())
