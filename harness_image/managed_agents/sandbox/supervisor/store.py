"""The journal for the event loop: its blocking calls on one thread that exists from the start."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from managed_agents.sandbox.supervisor.errors import journal_unavailable
from managed_agents.sandbox.supervisor.journal import Entry, Journal, Record

T = TypeVar("T")


class Store:
    """One thread does all reading and writing, in the order of the calls; so records never interleave."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        self._thread.submit(int).result()  # starts the thread now: later the Pod may have none left

    def close(self) -> None:
        """Finish what was begun and close the file."""
        self._thread.shutdown()
        self._journal.close()

    @property
    def bound(self) -> Record | None:
        """The binding as it was journaled."""
        return self._journal.bound

    @property
    def epoch(self) -> int:
        """The highest epoch that is durable."""
        return self._journal.epoch

    def entry(self, call_id: str) -> Entry | None:
        """What the index knows of a call."""
        return self._journal.entries.get(call_id)

    def unfinished(self) -> dict[str, Entry]:
        """Return the calls with an intent and no result."""
        return {call_id: entry for call_id, entry in self._journal.entries.items() if entry.outcome is None}

    async def append(self, record: Record) -> None:
        """Make a record durable. Raises `ContractError` 507."""
        try:
            await self._on_thread(lambda: self._journal.append(record))
        except OSError as error:
            raise journal_unavailable(error) from error

    async def result(self, call_id: str) -> Record | None:
        """Read back a result. Raises `JournalError`, `OSError`."""
        return await self._on_thread(lambda: self._journal.result(call_id))

    async def _on_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
