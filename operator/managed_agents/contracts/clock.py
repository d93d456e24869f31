"""Time as a parameter: wall clock for what people read, monotonic clock for what code decides."""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """A source of time that a test can replace."""

    def now(self) -> datetime:
        """Return the wall clock, aware and in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go backwards; only differences mean anything."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> datetime:
        """Return the wall clock, aware and in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that never go backwards."""
        return time.monotonic()


def rfc3339(moment: datetime) -> str:
    """Render a moment as the API does: UTC, microseconds, `Z`."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")[: -len("+00:00")] + "Z"


def parse_rfc3339(text: str) -> datetime:
    """Parse an RFC 3339 timestamp. Raises: ValueError when the text is none."""
    return datetime.fromisoformat(text)
