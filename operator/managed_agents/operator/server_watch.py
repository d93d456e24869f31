"""Follows the server's sessions: each summary goes into the store, and its Session into the queue."""

import asyncio
from collections.abc import Callable
from typing import Any

import structlog

from managed_agents.contracts.errors import ManagedAgentsError
from managed_agents.operator.keys import Key
from managed_agents.operator.server_api import ServerApi
from managed_agents.operator.summaries import Summaries, Summary
from managed_agents.operator.urgency import is_summary_urgent

RECONNECT_SECONDS = 1.0
RECONNECT_MAX_SECONDS = 10.0
"""The server is one Pod: it is away for seconds at a rollout."""


class ServerWatch:
    """Keeps `Summaries` equal to the server's view; a new connection begins with a full resync.

    `add` is told what to reconcile, and whether at once.
    """

    def __init__(
        self,
        server: ServerApi,
        summaries: Summaries,
        *,
        add: Callable[[Key, bool], None],
        on_resync: Callable[[], None],
    ) -> None:
        self._server = server
        self._summaries = summaries
        self._add = add
        self._on_resync = on_resync
        self._log = structlog.get_logger()
        self.synced = asyncio.Event()

    async def run(self) -> None:
        """Follow until cancelled, reconnecting with a growing delay."""
        delay = RECONNECT_SECONDS
        while True:
            try:
                await self.follow()
            except ManagedAgentsError as failure:
                delay = RECONNECT_SECONDS if self.synced.is_set() else min(delay * 2, RECONNECT_MAX_SECONDS)
                self._log.warning("server_watch_ended", error=failure.message, delay_seconds=delay)
            self.synced.clear()
            await asyncio.sleep(delay)

    async def follow(self) -> None:
        """Follow one connection to its end. Raises: RetryableError."""
        fresh: dict[str, dict[str, Any]] | None = {}
        async for line in self._server.watch():
            match line.get("type"):
                case "SESSION" if fresh is not None:
                    fresh[line["summary"]["id"]] = line["summary"]
                case "SESSION":
                    self.take(line["summary"])
                case "DELETED":
                    self._forget(line["id"])
                case "SYNCED" if fresh is not None:
                    self._resync(fresh)
                    fresh = None
                case _:
                    continue

    def _resync(self, fresh: dict[str, dict[str, Any]]) -> None:
        """Take the server's whole view: what it no longer knows it must be told again."""
        for session_id in self._summaries.ids() - fresh.keys():
            self._forget(session_id)
        for summary in fresh.values():
            self.take(summary, is_resync=True)
        if not self.synced.is_set():
            self._on_resync()
        self.synced.set()
        self._log.info("server_watch_synced", sessions=len(fresh))

    def take(self, summary: dict[str, Any], *, is_resync: bool = False) -> None:
        """Take a session's summary, unless a newer one is known; at a resync the server's word counts."""
        before = self._summaries.get(summary["id"])
        if self._summaries.put(summary, force=is_resync):
            urgent = is_summary_urgent(Summary.parse(summary), before)
            self._add(Key("Session", summary["namespace"], summary["name"]), urgent)

    def _forget(self, session_id: str) -> None:
        known = self._summaries.get(session_id)
        self._summaries.remove(session_id)
        if known is not None:
            self._add(Key("Session", known.namespace, known.name), True)
