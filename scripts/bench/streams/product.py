"""The server under measurement, with a note of the moment at which each commit returned."""

import asyncio
import dataclasses
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from bench.streams.child import obey, usage
from managed_agents.contracts.ids import new_event_id
from managed_agents.eventlog.records import Change, HarnessPod
from managed_agents.eventlog.sqlite.backend import SqliteEventLog
from managed_agents.eventlog.store import Append
from managed_agents.server.settings import Settings
from support.server import TestServer, server_in_process, session_config

NO_LIMITS = {"streams_max": 100_000, "connections_max": 100_000, "reads_per_minute": 0, "writes_per_minute": 0}


class Product:
    """The commands of a measured server."""

    def __init__(self, server: TestServer) -> None:
        if server.running is None:
            raise ValueError("the server must run in this process")
        self._context = server.running.context
        self._log = cast("SqliteEventLog", self._context.log)
        self._stamps: list[tuple[str, int, int]] = []
        self._note_commits(self._log)

    def _note_commits(self, log: SqliteEventLog) -> None:
        unit = log._state
        committed = unit.committed

        def noted() -> list[Change]:  # on the database thread, right after COMMIT
            now = time.monotonic_ns()
            changes = committed()
            self._stamps += [(c.session_id, event.position, now) for c in changes for event in c.events]
            return changes

        unit.committed = noted  # type: ignore[method-assign] # the bench looks inside, the server has no hook for it

    async def prepare(self, asked: Mapping[str, Any]) -> Any:
        """Make sessions whose harness may append; return `[id, pod uid, epoch]` of each."""
        made = []
        for number in range(asked["count"]):
            config = session_config(f"{asked['name']}-{number}")
            session = await self._log.put(config, _nothing)
            pod = HarnessPod(
                pod_uid=f"pod-{session.uid}",
                namespace=session.namespace,
                pod_name="p",
                deployment_uid=f"d-{session.uid}",
                session_id=session.id,
            )
            await self._log.register(pod)
            made.append([session.id, pod.pod_uid, (await self._log.take_epoch(session.id)).epoch])
        return made

    async def fill(self, asked: Mapping[str, Any]) -> Any:
        """Append many events at once; return the id of the first."""
        session, epoch, left, first = asked["session"], asked["epoch"], asked["count"], None
        while left:
            events = [message(asked["bytes"]) for _ in range(min(left, 500))]
            await self._log.append(Append(session=session, events=events, epoch=epoch))
            first, left = first or events[0]["id"], left - len(events)
        return first

    async def usage(self, _: Mapping[str, Any]) -> Any:
        return usage()

    async def stamps(self, _: Mapping[str, Any]) -> Any:
        taken, self._stamps = self._stamps, []
        return taken

    async def open(self, _: Mapping[str, Any]) -> Any:
        return len(self._context.streams)


def message(size: int) -> dict[str, Any]:
    """An agent's message of about that many bytes."""
    return {"id": new_event_id(), "type": "agent.message", "content": [{"type": "text", "text": "x" * size}]}


def _nothing(_: Mapping[str, Any], __: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return []


async def _main(directory: Path) -> None:
    known = {field.name for field in dataclasses.fields(Settings)}
    changes: dict[str, Any] = {name: value for name, value in NO_LIMITS.items() if name in known}
    async with server_in_process(directory, **changes) as server:
        product = Product(server)
        commands = {
            "prepare": product.prepare,
            "fill": product.fill,
            "usage": product.usage,
            "stamps": product.stamps,
            "open": product.open,
        }
        await obey({"public": server.public_url, "internal": server.internal_url}, commands)


if __name__ == "__main__":
    sys.setswitchinterval(0.001)  # as the server's own main does
    asyncio.run(_main(Path(sys.argv[1])))
