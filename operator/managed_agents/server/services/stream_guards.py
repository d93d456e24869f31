"""Open streams and the credentials that opened them: a stream ends soon after its credential does.

A request is over before its credential can be revoked; a stream lives for days. API keys are looked up each second,
which costs nothing. Tokens are asked for through the cache of the `Authenticator`, so Kubernetes is asked about each
once per `CACHE_SECONDS`, however many streams it holds.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from managed_agents.contracts.clock import Clock
from managed_agents.contracts.errors import RetryableError
from managed_agents.server.services.api_keys import ApiKey
from managed_agents.server.services.authenticator import Access
from managed_agents.server.services.callers import Caller, Callers
from managed_agents.server.services.errors import UnauthenticatedError

CHECK_SECONDS = 1.0
"""How long a stream may outlive its API key, and a token's last review."""

ACCESS_SECONDS = 60.0
"""How long a stream may outlive its caller's permission: one question for each session, so it is asked seldom."""

CHECKS_MAX = 16
"""Tokens that are asked for at once."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """With what a stream was opened: a credential, whose it was, from where it came, and what it had to permit."""

    credential: str
    caller: Caller
    peer: str
    access: Access


class Ends(Protocol):
    """What can be ended: a reader has what is left for it, then its connection closes."""

    def end(self) -> None:
        """End."""
        ...


@dataclass(slots=True)
class _Guard:
    shown: Pass
    stream: Ends
    access_due: float
    is_ended: bool = False


class StreamGuards:
    """Ends the streams whose credential ended."""

    def __init__(self, callers: Callers, clock: Clock) -> None:
        self._callers = callers
        self._clock = clock
        self._guards: dict[Ends, _Guard] = {}

    def __len__(self) -> int:
        return len(self._guards)

    def add(self, stream: Ends, shown: Pass) -> None:
        """End a stream once its pass no longer opens it."""
        self._guards[stream] = _Guard(shown, stream, self._clock.monotonic() + ACCESS_SECONDS)

    def remove(self, stream: Ends) -> None:
        """Take a stream out: it ended."""
        self._guards.pop(stream, None)

    async def run(self) -> None:
        """Check from now on, until cancelled. A kube-apiserver that hangs does not hold up the keys."""
        await asyncio.gather(self._run_keys(), self._run_tokens())

    async def _run_keys(self) -> None:
        while True:
            self.check_keys()
            await asyncio.sleep(CHECK_SECONDS)

    async def _run_tokens(self) -> None:
        while True:
            await self.check_tokens()
            await asyncio.sleep(CHECK_SECONDS)

    def check_keys(self) -> None:
        """End the streams of keys that were revoked or have expired."""
        for guard in self._guards.values():
            shown = guard.shown
            if isinstance(shown.caller.credential, ApiKey) and not self._callers.key_opens(
                shown.credential, shown.access
            ):
                _end(guard, "ApiKeyEnded")

    async def check_tokens(self) -> None:
        """End the streams of tokens that are no longer valid, or no longer permit them."""
        held: defaultdict[str, list[_Guard]] = defaultdict(list)
        for guard in self._guards.values():
            if not isinstance(guard.shown.caller.credential, ApiKey):
                held[guard.shown.credential].append(guard)
        slots = asyncio.Semaphore(CHECKS_MAX)

        async def check(guards: Sequence[_Guard]) -> None:
            async with slots:
                await self._check(guards)

        await asyncio.gather(*(check(guards) for guards in held.values()))

    async def _check(self, guards: Sequence[_Guard]) -> None:
        """Check the streams of one token. While Kubernetes cannot be asked, they go on until the token expires."""
        first = guards[0].shown
        try:
            caller = await self._callers.identify(first.credential, first.peer)
            for guard in guards:
                await self._check_access(caller, guard)
        except UnauthenticatedError:
            for guard in guards:
                _end(guard, "TokenEnded")
        except RetryableError:
            expires = first.caller.expires
            if expires is not None and self._clock.now().timestamp() >= expires:
                for guard in guards:
                    _end(guard, "TokenExpired")

    async def _check_access(self, caller: Caller, guard: _Guard) -> None:
        now = self._clock.monotonic()
        if now < guard.access_due:
            return
        if not await self._callers.may(caller, guard.shown.access):
            _end(guard, "AccessEnded")
        guard.access_due = now + ACCESS_SECONDS


def _end(guard: _Guard, reason: str) -> None:
    if guard.is_ended:
        return  # its reader still takes what was left
    guard.is_ended = True
    _log.info("stream_ended", reason=reason, caller=guard.shown.caller.id, namespace=guard.shown.access.namespace)
    guard.stream.end()
