"""A clock that a test moves."""

from datetime import UTC, datetime, timedelta


class ManualClock:
    """Stands still until `advance`."""

    def __init__(self) -> None:
        self._moment = datetime(2026, 1, 1, tzinfo=UTC)
        self._seconds = 0.0

    def now(self) -> datetime:
        return self._moment

    def monotonic(self) -> float:
        return self._seconds

    def advance(self, seconds: float) -> None:
        """Move both clocks."""
        self._moment += timedelta(seconds=seconds)
        self._seconds += seconds

    def skew(self, step: timedelta) -> None:
        """Set the wall clock forward or back, as an administrator does; the monotonic one goes on."""
        self._moment += step
