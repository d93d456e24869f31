"""Brings sessions that need a harness together with warm harnesses that wait for one: first come, first served.

Neither waits for Kubernetes: the match is one commit of the log. What finds no match stays in line, so a harness that
becomes warm later takes the session that has waited longest, if the operator's cold one has not come up before.
"""

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from managed_agents.contracts.errors import ManagedAgentsError
from managed_agents.eventlog.records import WarmHarness
from managed_agents.eventlog.store import EventLog

TAKEOVER_SECONDS = 0.2
"""How long a harness that lost its connection may take to come back: a killed worker needs 0.1 s, and no other Pod."""

RECONNECT_SECONDS = 1.0
"""The same after a start of the server, which every harness must notice first."""

Pool = tuple[str, str]
"""Namespace and harness image; an empty image is the operator's own."""


class Offer:
    """A warm harness in line. `leased` ends with true when a session was given to it."""

    def __init__(self, warm: WarmHarness) -> None:
        self.warm = warm
        self.leased: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    @property
    def is_taken(self) -> bool:
        """Tell whether its connection knows of the session that it was given."""
        return self.leased.done() and self.leased.result()

    def end(self, *, leased: bool) -> None:
        """Let its connection go on."""
        if not self.leased.done():
            self.leased.set_result(leased)


class WarmHarnesses:
    """Both lines of each pool. `take` leases a session to a harness, and ends the offer."""

    def __init__(
        self,
        log: EventLog,
        *,
        is_held: Callable[[str], bool],
        take: Callable[[str, Offer], Awaitable[None]],
        changed: Callable[[str], None],
    ) -> None:
        self._log = log
        self._is_held = is_held
        self._take = take
        self._changed = changed
        self._offers: defaultdict[Pool, OrderedDict[str, Offer]] = defaultdict(OrderedDict)
        self._needs: defaultdict[Pool, OrderedDict[str, None]] = defaultdict(OrderedDict)
        self._pools: dict[str, Pool] = {}
        self._seeking: dict[str, bool] = {}
        """Sessions that are being looked at; true where something new was heard of one meanwhile."""
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return sum(len(offers) for offers in self._offers.values())

    def is_seeking(self, session_id: str) -> bool:
        """Tell whether it is still open if a warm harness takes a session."""
        return session_id in self._seeking

    async def wait(self, warm: WarmHarness, changed: asyncio.Event) -> bool:
        """Stand in line until a session was given to this harness (true), or `changed` says to look at it anew."""
        pool, offer = (warm.namespace, warm.image), Offer(warm)
        self._offers[pool][warm.pod_uid] = offer
        waking = asyncio.create_task(changed.wait())
        either: set[asyncio.Future[Any]] = {waking, offer.leased}
        try:
            self._match(pool)
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            return offer.is_taken
        finally:
            waking.cancel()
            offer.end(leased=False)
            if self._offers[pool].get(warm.pod_uid) is offer:
                del self._offers[pool][warm.pod_uid]
            if not self._offers[pool]:
                del self._offers[pool]

    def seek(self, session_id: str, *, after_seconds: float = 0.0) -> None:
        """Look for a harness for a session, unless it is in line already, or turns out to want none."""
        if session_id in self._seeking:
            self._seeking[session_id] = True
        elif session_id not in self._pools:
            self._seeking[session_id] = True
            self._run(self._seek(session_id, after_seconds))

    def dismiss(self, session_id: str) -> None:
        """Take a session out of line: it has a harness, or wants none."""
        pool = self._pools.pop(session_id, None)
        if pool is not None:
            self._needs[pool].pop(session_id, None)
            if not self._needs[pool]:
                del self._needs[pool]

    async def close(self) -> None:
        """Stop looking."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _seek(self, session_id: str, after_seconds: float) -> None:
        try:
            if after_seconds:
                await asyncio.sleep(after_seconds)
            while self._seeking[session_id] and session_id not in self._pools:
                self._seeking[session_id] = False  # before the look, so that what comes during it is looked at again
                await self._line_up(session_id)
        except ManagedAgentsError:
            return  # gone, or the log is away: whatever happens to it next looks again
        finally:
            del self._seeking[session_id]
            if session_id in self._pools:
                self._match(self._pools[session_id])
            if session_id in self._pools:  # nobody took it: its summary says so from now on
                self._changed(session_id)

    async def _line_up(self, session_id: str) -> None:
        session = await self._log.session(session_id)
        if not session.wanted or self._is_held(session_id):
            return
        config = await self._log.config(session_id)
        if not self._is_held(session_id):
            pool = (session.namespace, str((config.get("environment") or {}).get("harness_image") or ""))
            self._needs[pool][session_id] = None
            self._pools[session_id] = pool

    def _match(self, pool: Pool) -> None:
        """Give the session that has waited longest to the harness that has, as long as both lines have one."""
        while self._needs.get(pool) and self._offers.get(pool):
            session_id = next(iter(self._needs[pool]))
            self.dismiss(session_id)
            _, offer = self._offers[pool].popitem(last=False)
            self._seeking[session_id] = False
            self._run(self._lease(session_id, offer))

    async def _lease(self, session_id: str, offer: Offer) -> None:
        try:
            await self._take(session_id, offer)
        finally:
            del self._seeking[session_id]
            offer.end(leased=False)
        if not self._is_held(session_id):
            self.seek(session_id, after_seconds=TAKEOVER_SECONDS)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
