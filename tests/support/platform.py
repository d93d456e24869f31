"""A platform in memory for the harness: the log's rules as the server keeps them, and every fault a test asks for.

One `FakePlatform` is the world and outlives workers; each worker gets a `Connection` of its own, which a test can cut
or kill. A `gate` is called at every point where a worker could die, with the name of that point.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson

from managed_agents.contracts.errors import FencedError, HeadMismatchError, NotFoundError
from managed_agents.contracts.events import types
from managed_agents.harness.platform import ConfigChanged, EventArrived, LeaseEnded, News, Receipt, Slice, Timing

Gate = Callable[[str], Awaitable[None]]

WAIT_SECONDS = 5.0


async def open_gate(_: str) -> None:
    """Let everything pass."""


class FakePlatform:
    """One session's log with epochs, leases and stamps; events are kept as bytes, as a real log keeps them."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = dict(config)
        self.epoch = 0
        self.epochs: list[int | None] = []
        self.previews: list[Mapping[str, Any]] = []
        self.commits: list[list[str]] = []
        self.told: list[tuple[str, list[tuple[str, float]]]] = []
        self.released = False
        self._records: list[bytes] = []
        self._processed: dict[str, str] = {}
        self._seconds = 0
        self._appended: dict[tuple[str, ...], Receipt] = {}
        self._leases: list[FakeLease] = []
        self._changed = asyncio.Condition()

    # what a test sees

    @property
    def head(self) -> int:
        return len(self._records)

    def log(self) -> list[dict[str, Any]]:
        """Return the log as a reader sees it now."""
        return self.read(0, self.head)

    def read(self, after: int, limit: int) -> list[dict[str, Any]]:
        """Return some events of the log, those after a position."""
        events = [orjson.loads(record) for record in self._records[after : after + limit]]
        for event in events:
            event["processed_at"] = self._processed.get(event["id"])
        return events

    def kinds(self) -> list[str]:
        return [event["type"] for event in self.log()]

    def of(self, event_type: str) -> list[dict[str, Any]]:
        return [event for event in self.log() if event["type"] == event_type]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait, bounded, until a commit makes a condition true."""
        async with asyncio.timeout(WAIT_SECONDS), self._changed:
            await self._changed.wait_for(condition)

    async def until_idle(self) -> dict[str, Any]:
        """Wait until no harness is wanted any more and return the idle event."""
        await self.until(lambda: not self.wanted and bool(self.of(types.STATUS_IDLE)))
        return self.of(types.STATUS_IDLE)[-1]

    @property
    def wanted(self) -> bool:
        """Tell whether a harness is needed, by the rule of docs/internal-api.md."""
        log = self.log()
        idle = max((event["position"] for event in log if event["type"] == types.STATUS_IDLE), default=0)
        running = max((event["position"] for event in log if event["type"] == types.STATUS_RUNNING), default=0)
        inputs = [event for event in log if event["type"] in types.CLIENT_TYPES and not event.get("on_receipt")]
        return running > idle or any(event["position"] > idle for event in inputs)

    # what a client does

    async def send(self, *events: Mapping[str, Any]) -> list[str]:
        """Append client events in one commit and return their ids."""
        ids = [f"sevt_client{self.head + index + 1:08d}" for index in range(len(events))]
        pending = bool(self.log() and self.log()[-1]["type"] == types.STATUS_IDLE and self._blocked())
        idle = not self.wanted and not pending
        stamped = []
        for event, event_id in zip(events, ids, strict=True):
            on_receipt = event["type"] in types.PROCESSED_ON_RECEIPT or (event["type"] == types.USER_INTERRUPT and idle)
            extra = {"on_receipt": True} if event["type"] == types.USER_INTERRUPT and idle else {}
            stamped.append(({**event, "id": event_id, **extra}, on_receipt))
            idle = idle and event["type"] == types.USER_INTERRUPT
        await self.commit([event for event, _ in stamped], processed=[e["id"] for e, receipt in stamped if receipt])
        return ids

    def _blocked(self) -> bool:
        return bool((self.log()[-1].get("stop_reason") or {}).get("event_ids"))

    async def configure(self, **changes: Any) -> None:
        self.config |= changes
        for lease in self._leases:
            lease.tell(ConfigChanged(config=self.config))

    async def end(self, why: Any) -> None:
        """End the lease from the platform's side."""
        for lease in self._leases:
            lease.tell(LeaseEnded(why=why))

    def cut(self) -> None:
        """Drop the connection of the lease."""
        for lease in self._leases:
            lease.cut()

    # what the platform does

    async def commit(
        self,
        events: Sequence[Mapping[str, Any]],
        *,
        processed: Sequence[str] = (),
        epoch: int | None = None,
        writer: "Connection | None" = None,
    ) -> Receipt:
        self._seconds += 1
        at = f"2026-01-01T{self._seconds // 3600:02d}:{self._seconds // 60 % 60:02d}:{self._seconds % 60:02d}.000000Z"
        stamps = []
        for event in events:
            position = self.head + 1
            self._records.append(orjson.dumps({**event, "position": position}))
            self.epochs.append(epoch)
            if writer is not None:
                self._processed[event["id"]] = at
            stamps.append({"id": event["id"], "position": position, "processed_at": self._processed.get(event["id"])})
        for event_id in processed:
            self._processed.setdefault(event_id, at)
        self.commits.append([event["type"] for event in events])
        for lease in self._leases:
            if lease.connection is not writer:
                for event in self.log()[-len(events) :]:
                    lease.tell(EventArrived(event=event))
        async with self._changed:
            self._changed.notify_all()
        return Receipt(head=self.head, stamps=stamps)

    async def emit(
        self, connection: "Connection", epoch: int, events: Sequence[Mapping[str, Any]], **rest: Any
    ) -> Receipt:
        if epoch < self.epoch:
            raise FencedError(f"epoch {epoch} is older than {self.epoch}")
        ids = tuple(event["id"] for event in events)
        if ids in self._appended:
            return self._appended[ids]
        expected_head = rest.pop("expected_head")
        if expected_head is not None and expected_head != self.head:
            raise HeadMismatchError("the log is elsewhere", head=self.head)
        receipt = await self.commit(events, epoch=epoch, writer=connection, **rest)
        self._appended[ids] = receipt
        return receipt

    def lease(self, connection: "Connection") -> "FakeLease":
        self.epoch += 1
        for other in self._leases:
            other.cut()
        lease = FakeLease(self, connection)
        self._leases = [lease]
        return lease


class FakeLease:
    """A lease whose news come from a queue; None ends it as a lost connection does."""

    def __init__(self, platform: FakePlatform, connection: "Connection") -> None:
        self.config: Mapping[str, Any] = dict(platform.config)
        self.epoch = platform.epoch
        self.head = platform.head
        self.connection = connection
        self._platform = platform
        self._news: asyncio.Queue[News | None] = asyncio.Queue()

    def tell(self, news: News) -> None:
        self._news.put_nowait(news)

    def cut(self) -> None:
        self._news.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[News]:
        while (news := await self._news.get()) is not None:
            yield news

    async def preview(self, event: Mapping[str, Any]) -> None:
        self._platform.previews.append(event)


class Connection:
    """The platform as one worker reaches it. A killed one answers nothing any more."""

    def __init__(self, platform: FakePlatform, gate: Gate = open_gate) -> None:
        self._platform = platform
        self._gate = gate
        self.dead = False

    @asynccontextmanager
    async def wake(self) -> AsyncIterator[FakeLease]:
        await self._pass("wake")
        yield self._platform.lease(self)

    async def get_session(self, session: str) -> Mapping[str, Any]:
        return {"config": self._platform.config, "head": self._platform.head, "epoch": self._platform.epoch}

    async def emit_event(
        self,
        session: str,
        epoch: int,
        events: Sequence[Mapping[str, Any]],
        *,
        processed: Sequence[str] = (),
        expected_head: int | None = None,
        timing: Timing = (),
    ) -> Receipt:
        kinds = "+".join(str(event["type"]) for event in events)
        await self._pass(f"before {kinds}")
        receipt = await self._platform.emit(self, epoch, events, processed=processed, expected_head=expected_head)
        self._platform.told.append((kinds, list(timing)))
        await self._pass(f"after {kinds}")
        return receipt

    async def get_events(self, session: str, *, after: int, limit: int) -> Slice:
        await self._pass("read")
        if session != self._platform.config["id"]:
            raise NotFoundError(session)
        return Slice(events=self._platform.read(after, limit), head=self._platform.head)

    async def release(self, session: str, epoch: int) -> None:
        self._platform.released = True

    async def _pass(self, point: str) -> None:
        if self.dead:
            raise ConnectionError("this worker was killed")
        await self._gate(point)
