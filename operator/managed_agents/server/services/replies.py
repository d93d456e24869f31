"""One result for a request however often it is sent: repeats join it while it runs, and get its answer afterwards.

The official SDKs send no idempotency key and repeat a POST whose answer they did not get, marked by
`x-stainless-retry-count` (API reference §1.10). Such a repeat gets the first result, unless that was delivered: then a
client that sends the same again means it again. With an `Idempotency-Key` every repeat gets the first result.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from math import inf

import orjson

from managed_agents.contracts.clock import Clock
from managed_agents.eventlog.errors import KeyReusedError
from managed_agents.eventlog.records import LoggedEvent
from managed_agents.eventlog.replies import Reply, ReplyKey
from managed_agents.eventlog.store import EventLog
from managed_agents.server.services.session_view import session_view

RETRY_SECONDS = 15 * 60.0
KEY_SECONDS = 24 * 3600.0
"""How long a result is kept for repeats, without and with an `Idempotency-Key`."""

KEPT_BYTES_MAX = 4 * 1024 * 1024
"""A larger answer is not kept: its repeat is a new request."""

REMEMBERED_MAX = 10_000
"""Requests of which it is known whether their answer was delivered."""

CLOSE_SECONDS = 5.0

SWEEP_SECONDS_MAX = 600.0
"""How long a result that has ended may still take room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request. `digest` is of its body; `key` its idempotency key, if it has one."""

    caller: str
    target: str
    digest: bytes
    key: str | None
    is_retry: bool

    @property
    def repeats(self) -> bool:
        """Tell whether an earlier result may be the answer."""
        return self.is_retry or self.key is not None

    def reply_key(self, now: float) -> ReplyKey:
        """Return under which key the result is kept."""
        what = ("key", self.key) if self.key is not None else ("body", self.digest.hex())
        text = "\n".join((*what, self.caller, self.target))
        lasting = RETRY_SECONDS if self.key is None else KEY_SECONDS
        digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
        return ReplyKey(key=digest, digest=self.digest, expires=now + lasting)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a request led to; the body is JSON."""

    status: int
    body: bytes


@dataclass(slots=True, kw_only=True)
class Answering:
    """A request that is being answered. Who keeps the result in a commit of its own sets `is_kept`."""

    key: ReplyKey
    has_key: bool
    is_kept: bool = False
    is_delivered: bool = False


Run = Callable[[Answering], Awaitable[Result]]

Permit = Callable[[], Awaitable[object]]
"""Raises where the caller may not do any more what it did then."""


@dataclass(slots=True, kw_only=True)
class Replies:
    """The results of requests, running and kept."""

    log: EventLog
    clock: Clock
    settle: Callable[[bytes], Awaitable[None]]
    """Ends what a request, named by its key's digest, began before a crash; asked before a repeat is answered."""
    _running: dict[bytes, tuple[Answering, "asyncio.Task[Result]"]] = field(default_factory=dict)
    _known: OrderedDict[bytes, Answering] = field(default_factory=OrderedDict)
    _swept_at: float = -inf

    async def answer(self, asked: Asked, run: Run, permit: Permit) -> tuple[Answering, Result]:
        """Return the result of a request: an earlier one's where it repeats that and `permit` lets it, else of `run`.

        `run` goes on when the caller goes away. Raises: KeyReusedError, and what `run` and `permit` raise.
        """
        key = asked.reply_key(self._now())
        if asked.repeats:
            kept = None if self._is_running(key) else await self._kept(asked, key)
            if self._is_running(key):
                answering, task = self._running[key.key]
                _require_same(answering.key.digest, key)
                return answering, await asyncio.shield(task)
            if kept is not None:
                await permit()
                return kept
        answering = Answering(key=key, has_key=asked.key is not None)
        task = asyncio.create_task(self._run(answering, run))
        task.add_done_callback(_heard)
        self._running[key.key] = answering, task
        self._remember(answering)
        return answering, await asyncio.shield(task)

    def delivered(self, answering: Answering, is_delivered: bool) -> None:
        """Note whether the client got an answer whole."""
        answering.is_delivered = is_delivered

    async def sweep(self) -> None:
        """Forget what no repeat may get any more. Raises: RetryableError."""
        done = [entry for entry in self._known.values() if entry.is_delivered and not entry.has_key and entry.is_kept]
        if not done and self.clock.monotonic() < self._swept_at + SWEEP_SECONDS_MAX:
            return
        self._swept_at = self.clock.monotonic()
        await self.log.drop_replies([entry.key.key for entry in done], self._now())
        for entry in done:
            entry.is_kept = False

    async def close(self) -> None:
        """Let what runs come to its end, for a while."""
        tasks = [task for _, task in self._running.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, answering: Answering, run: Run) -> Result:
        key = answering.key
        try:
            result = await run(answering)
            if 200 <= result.status < 300 and not answering.is_kept and len(result.body) <= KEPT_BYTES_MAX:
                await self.log.keep_reply(key, result.status, result.body)
                answering.is_kept = True
            return result
        finally:
            if key.key in self._running and self._running[key.key][0] is answering:
                del self._running[key.key]

    async def _kept(self, asked: Asked, key: ReplyKey) -> tuple[Answering, Result] | None:
        known = self._known.get(key.key)
        if asked.key is None and known is not None and known.is_delivered:
            return None
        await self.settle(key.key)
        reply = await self.log.reply(key.key, self._now())
        if reply is None:
            return None
        _require_same(reply.digest, key)
        answering = known or Answering(key=key, has_key=asked.key is not None, is_kept=True)
        self._remember(answering)
        return answering, await self._result_of(reply)

    async def _result_of(self, reply: Reply) -> Result:
        if reply.session is not None:
            view = session_view(await self.log.record(reply.session), self.clock.now())
            return Result(status=reply.status, body=orjson.dumps(view))
        return Result(status=reply.status, body=events_body(reply.events) if reply.body is None else reply.body)

    def _is_running(self, key: ReplyKey) -> bool:
        return key.key in self._running

    def _remember(self, answering: Answering) -> None:
        self._known[answering.key.key] = answering
        self._known.move_to_end(answering.key.key)
        if len(self._known) > REMEMBERED_MAX:
            self._known.popitem(last=False)

    def _now(self) -> float:
        return self.clock.now().timestamp()


def events_body(events: Sequence[LoggedEvent]) -> bytes:
    """Render sent events as the API answers them."""
    return b'{"data":[%b]}' % b",".join(event.public() for event in events)


def _heard(task: "asyncio.Task[Result]") -> None:
    """Take note of a failure that nobody waits for any more."""
    if not task.cancelled():
        task.exception()


def _require_same(digest: bytes, key: ReplyKey) -> None:
    if digest != key.digest:
        raise KeyReusedError("Idempotency-Key: this key was used before with another body; use a new key")
