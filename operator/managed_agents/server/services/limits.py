"""How much one tenant may ask for: requests a minute by kind, streams held open, and bodies in memory."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from managed_agents.contracts.clock import Clock
from managed_agents.contracts.limits import EVENT_BODY_BYTES_MAX
from managed_agents.server.services.buckets import Buckets
from managed_agents.server.services.errors import RateLimitedError

RequestKind = Literal["creates", "reads", "writes"]

TENANTS_MAX = 10_000
"""Tenants remembered; one that was forgotten begins with a full bucket."""

BODY_BYTES_MAX = 4 * EVENT_BODY_BYTES_MAX
"""JSON bodies in memory at once, of all callers: four of the largest.

One tenant may hold as much as is left free: two of the largest when it is alone, less the more others hold, so that
whoever comes next finds room.
"""

BODY_RETRY_SECONDS = 1.0
"""When to try again for a body: most are read within this time."""

STREAM_RETRY_SECONDS = 5.0
"""When to try again for a stream: nobody knows when another one closes."""


@dataclass(slots=True, kw_only=True)
class Limits:
    """Counts the requests and streams of each tenant. `per_minute` of 0 stands for no limit."""

    clock: Clock
    per_minute: Mapping[RequestKind, int]
    streams_max: int
    _buckets: Buckets = field(default_factory=lambda: Buckets(TENANTS_MAX * len(_SHOWN)))
    _streams: dict[str, int] = field(default_factory=dict)
    _body_bytes: dict[str, int] = field(default_factory=dict)

    def admit(self, tenant: str, kind: RequestKind) -> None:
        """Count a request. Raises: RateLimitedError."""
        allowed = self.per_minute[kind]
        if allowed == 0:
            return
        wait = self._buckets.take((tenant, kind), allowed, self.clock.monotonic())
        if wait > 0:
            raise RateLimitedError(
                f"more than {allowed} {_SHOWN[kind]} per minute from {tenant}; wait as retry-after says",
                delay_seconds=wait,
            )

    @contextmanager
    def stream(self, tenant: str) -> Iterator[None]:
        """Count a stream while the block runs. Raises: RateLimitedError."""
        opened = self._streams.get(tenant, 0)
        if opened >= self.streams_max:
            raise RateLimitedError(
                f"{tenant} has {opened} streams open, the most that it may; close one",
                delay_seconds=STREAM_RETRY_SECONDS,
            )
        self._streams[tenant] = opened + 1
        try:
            yield
        finally:
            self._streams[tenant] -= 1
            if not self._streams[tenant]:
                del self._streams[tenant]

    @contextmanager
    def body(self, tenant: str, size: int | None) -> Iterator[None]:
        """Count a body of that many bytes, null for unknown, while the block runs. Raises: RateLimitedError."""
        counted = EVENT_BODY_BYTES_MAX if size is None else min(size, EVENT_BODY_BYTES_MAX)
        own = self._body_bytes.get(tenant, 0) + counted
        if counted and own > BODY_BYTES_MAX - sum(self._body_bytes.values()) - counted:
            raise RateLimitedError(
                f"too many large bodies of {tenant} arrive at once; send them one after the other",
                delay_seconds=BODY_RETRY_SECONDS,
            )
        self._body_bytes[tenant] = own
        try:
            yield
        finally:
            left = self._body_bytes.pop(tenant, 0) - counted
            if left > 0:
                self._body_bytes[tenant] = left


_SHOWN: Mapping[RequestKind, str] = {"creates": "requests that create", "reads": "reads", "writes": "other writes"}


def retry_after_seconds(delay: float) -> int:
    """Return a delay as the header says it: whole seconds, at least 1."""
    return max(1, math.ceil(delay))
