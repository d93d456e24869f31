"""The last look into a sandbox that is taken from its harness: who may still copy outputs, and for how long.

A release or the end of a session takes the session from its harness at once. What lies in the sandbox then is copied
by the proxy that was there, beside whatever comes next; the operator keeps the Pods until that is done. Only this
process knows of it: a restart ends the wait, and costs at most what the last periodic look had not seen.
"""

from collections.abc import Callable
from dataclasses import dataclass

from managed_agents.contracts.clock import Clock, rfc3339
from managed_agents.contracts.limits import LAST_LOOK_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class LastLook:
    """A harness Pod copies what is left in a sandbox. `ends_at` is on the monotonic clock, `since` RFC 3339."""

    harness_uid: str
    sandbox_name: str
    since: str
    ends_at: float


class LastLooks:
    """The last looks that are waited for, at most one of a session. `notify` is told each session that changed."""

    def __init__(self, clock: Clock, notify: Callable[[str], None]) -> None:
        self._clock = clock
        self._notify = notify
        self._looks: dict[str, LastLook] = {}

    def begin(self, session_id: str, *, harness_uid: str, sandbox_name: str) -> None:
        """Wait for a harness Pod's last look, for a bounded time."""
        self._looks[session_id] = LastLook(
            harness_uid=harness_uid,
            sandbox_name=sandbox_name,
            since=rfc3339(self._clock.now()),
            ends_at=self._clock.monotonic() + LAST_LOOK_SECONDS,
        )
        self._notify(session_id)

    def awaited(self, session_id: str) -> str | None:
        """Return the name of the sandbox Pod that must stay for now."""
        look = self._looks.get(session_id)
        return None if look is None or look.ends_at <= self._clock.monotonic() else look.sandbox_name

    def of(self, session_id: str, pod_uid: str) -> LastLook | None:
        """Return by what a Pod may still copy the session's outputs, though the session is no longer its own."""
        look = self._looks.get(session_id)
        is_its = look is not None and look.harness_uid == pod_uid and self.awaited(session_id) is not None
        return look if is_its else None

    def done(self, session_id: str, sandbox_name: str) -> None:
        """Wait no more: all that was left is copied, or cannot be."""
        look = self._looks.get(session_id)
        if look is not None and look.sandbox_name == sandbox_name:
            self.forget(session_id)

    def lost(self, harness_uid: str) -> None:
        """Wait no more for a Pod that is gone."""
        for session_id in [key for key, look in self._looks.items() if look.harness_uid == harness_uid]:
            self.forget(session_id)

    def forget(self, session_id: str) -> None:
        """Wait no more for anything of a session."""
        if self._looks.pop(session_id, None) is not None:
            self._notify(session_id)

    def expire(self) -> None:
        """Wait no more for what takes too long."""
        now = self._clock.monotonic()
        for session_id in [key for key, look in self._looks.items() if look.ends_at <= now]:
            self.forget(session_id)
