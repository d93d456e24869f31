"""The platform as a harness sees it: five calls and nothing else (docs/harness-contract.md).

`wake` is held open for as long as the harness works; the others are single requests under the epoch that it took.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Event = Mapping[str, Any]

Timing = Sequence[tuple[str, float]]
"""Names of steps, each with how many milliseconds ago it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What became durable: position and time of each event of an append, in its order, and the head after it."""

    head: int
    stamps: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Events in order of their positions, and the log's head when they were read."""

    events: Sequence[Event]
    head: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EventArrived:
    """Somebody else appended this event after the lease began."""

    event: Event


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigChanged:
    """The session's config is another from now on."""

    config: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseEnded:
    """The session is no longer this harness's: nothing more may be written."""

    why: Literal["released", "fenced", "deleted"]


News = EventArrived | ConfigChanged | LeaseEnded


class Lease(Protocol):
    """A session that is this harness's alone, for as long as the connection behind it lives.

    `epoch` fences every predecessor; `head` is the log's head when the lease began. Iterating yields news, and ends
    when the connection does.
    """

    config: Mapping[str, Any]
    epoch: int
    head: int

    def __aiter__(self) -> AsyncIterator[News]:
        """Yield what arrives, in order."""
        ...

    async def preview(self, event: Mapping[str, Any]) -> None:
        """Show an unstored event to whoever watches; lost without notice when the connection is gone."""
        ...


class Platform(Protocol):
    """The five calls. Each raises ConnectionError while the platform cannot be reached."""

    def wake(self) -> AbstractAsyncContextManager[Lease]:
        """Wait for a session and hold it, heartbeats included, until the context ends."""
        ...

    async def get_session(self, session: str) -> Mapping[str, Any]:
        """Return `{config, head, epoch, status}`. Raises: NotFoundError."""
        ...

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
        """Append events that carry their ids, all or none, and stamp client events as processed.

        `timing` tells which steps of the turn were reached since the last append, in order (docs/observability.md).
        A repeat of the same ids under the same epoch returns the first receipt. Raises: FencedError, HeadMismatchError,
        NotFoundError.
        """
        ...

    async def get_events(self, session: str, *, after: int, limit: int) -> Slice:
        """Read events after a position, at most `limit` (1000). Raises: NotFoundError."""
        ...

    async def release(self, session: str, epoch: int) -> None:
        """Give the session back. Raises: ConflictError while input waits, FencedError."""
        ...
