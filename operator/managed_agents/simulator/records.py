"""The requests the simulator got, for tests to look at: a bounded ring, with a wait for the next one."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

import orjson

RECORDS_MAX: Final = 10_000
RECORDED_BYTES_MAX: Final = 64 * 1024 * 1024
"""Bodies of long conversations repeat themselves: without a bound in bytes 10,000 of them fill a node."""

Outcome = Literal["open", "complete", "error", "cut", "disconnected"]


@dataclass(slots=True, kw_only=True)
class Record:
    """One request; filled in while it is answered. Headers are never kept: they hold keys."""

    n: int
    request_id: str
    path: str
    body: bytes
    received_at: datetime
    received_monotonic: float
    status: int | None = None
    outcome: Outcome = "open"
    model: str | None = None
    stream: bool = False
    step: int | None = None
    attempt: int | None = None
    error: dict[str, Any] | None = None
    first_token_at: datetime | None = None
    first_token_monotonic: float | None = None
    finished_monotonic: float | None = None
    finished: bool = False

    def view(self) -> dict[str, Any]:
        """The record as the HTTP interface shows it."""
        first = self.first_token_monotonic
        return {
            "n": self.n,
            "request_id": self.request_id,
            "path": self.path,
            "status": self.status,
            "outcome": self.outcome,
            "model": self.model,
            "stream": self.stream,
            "step": self.step,
            "attempt": self.attempt,
            "error": self.error,
            "received_at": self.received_at,
            "received_monotonic": self.received_monotonic,
            "first_token_at": self.first_token_at,
            "first_token_monotonic": first,
            "first_token_ms": None if first is None else (first - self.received_monotonic) * 1000,
            "finished_monotonic": self.finished_monotonic,
            "body": _json_or_text(self.body),
        }


@dataclass(slots=True)
class Records:
    """The ring. Numbers go up by one for the life of the process, also over `clear`."""

    _ring: deque[Record] = field(default_factory=deque)
    _bytes: int = 0
    _last: int = 0
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def open(self, path: str, body: bytes, *, request_id: str, at: datetime, monotonic: float) -> Record:
        """Keep a request that just came in, and drop the oldest ones over the bounds."""
        self._last += 1
        record = Record(
            n=self._last, request_id=request_id, path=path, body=body, received_at=at, received_monotonic=monotonic
        )
        self._ring.append(record)
        self._bytes += len(body)
        while len(self._ring) > RECORDS_MAX or (self._bytes > RECORDED_BYTES_MAX and len(self._ring) > 1):
            self._bytes -= len(self._ring.popleft().body)
        self._notify()
        return record

    def finish(self, record: Record, outcome: Outcome, monotonic: float) -> None:
        """Note how the request ended. The first outcome stays."""
        if record.finished:
            return
        record.outcome, record.finished, record.finished_monotonic = outcome, True, monotonic
        self._notify()

    def after(self, n: int, *, finished_only: bool = False) -> list[Record]:
        """The kept records with a number above `n`, oldest first; of the finished ones if asked."""
        return [record for record in self._ring if record.n > n and (record.finished or not finished_only)]

    async def wait_after(self, n: int, seconds: float, *, finished_only: bool = False) -> list[Record]:
        """The same, but wait up to that many seconds for the first one."""
        try:
            async with asyncio.timeout(seconds):
                while not (found := self.after(n, finished_only=finished_only)):
                    await self._changed.wait()
                return found
        except TimeoutError:
            return []

    def clear(self) -> int:
        """Forget all records; returns how many there were."""
        count = len(self._ring)
        self._ring.clear()
        self._bytes = 0
        return count

    @property
    def last(self) -> int:
        """The number of the latest request, 0 before the first."""
        return self._last

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def _json_or_text(body: bytes) -> Any:
    try:
        return orjson.Fragment(body) if orjson.loads(body) is not None else None
    except orjson.JSONDecodeError:
        return body.decode("utf-8", "replace")
