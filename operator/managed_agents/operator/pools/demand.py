"""Who asked for warm objects, and when: read from the server's summaries, kept in memory.

A restart loses the minute before it, which is all that the policy looks at, and learns the time of the last use anew
from the summaries' own times.
"""

from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from managed_agents.contracts.clock import Clock
from managed_agents.operator.pools.sizing import WINDOW
from managed_agents.operator.summaries import Summary

REMEMBERED_MAX = 4096
"""Takes kept of one namespace; more within a minute cannot make a pool larger than its bound anyway."""

PoolKind = Literal["harness", "sandbox"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Take:
    """A session asked a pool for an object: its name says which Environment, and so which pool."""

    at: datetime
    kind: PoolKind
    session: str


class Demand:
    """Recent takes and the last use of each namespace. `asked` is told the namespace of each new take."""

    def __init__(self, clock: Clock, asked: Callable[[str], None]) -> None:
        self._clock = clock
        self._asked = asked
        self._takes: defaultdict[str, deque[Take]] = defaultdict(lambda: deque(maxlen=REMEMBERED_MAX))
        self._last_use: dict[str, datetime] = {}
        self._seen: dict[str, tuple[str | None, str | None]] = {}
        self._leased: dict[str, str] = {}
        self._leased_uids: set[str] = set()

    def note(self, summary: Summary, *, is_resync: bool) -> None:
        """Take a session's newest summary; one of a resync tells of no new take."""
        known = self._last_use.get(summary.namespace)
        was_quiet = known is None
        self._last_use[summary.namespace] = summary.status_since if known is None else max(known, summary.status_since)
        before = self._seen.get(summary.id, (None, None))
        after = (_harness_asked(summary), _sandbox_asked(summary))
        if after != (None, None):
            self._seen[summary.id] = after
        else:
            self._seen.pop(summary.id, None)
        self._note_lease(summary.id, None if summary.harness is None else summary.harness.deployment_uid)
        if is_resync:
            return
        kinds: tuple[PoolKind, PoolKind] = ("harness", "sandbox")
        news = [kind for kind, old, new in zip(kinds, before, after, strict=True) if new is not None and new != old]
        for kind in news:
            self._takes[summary.namespace].append(Take(at=self._clock.now(), kind=kind, session=summary.name))
        if news or was_quiet:
            self._asked(summary.namespace)

    def _note_lease(self, session_id: str, deployment_uid: str | None) -> None:
        self._leased_uids.discard(self._leased.pop(session_id, ""))
        if deployment_uid is not None:
            self._leased[session_id] = deployment_uid
            self._leased_uids.add(deployment_uid)

    def used(self, namespace: str) -> None:
        """Note that somebody is about to use a namespace."""
        self._last_use[namespace] = self._clock.now()

    def forget(self, session_id: str) -> None:
        """Forget a session that is gone."""
        self._seen.pop(session_id, None)
        self._note_lease(session_id, None)

    def is_leased(self, deployment_uid: str) -> bool:
        """Tell whether the server gave a warm Deployment to a session."""
        return deployment_uid in self._leased_uids

    def takes(self, namespace: str, kind: PoolKind) -> list[Take]:
        """Return a namespace's takes of the last minute, oldest first."""
        kept = self._takes[namespace]
        now = self._clock.now()
        while kept and now - kept[0].at >= WINDOW:
            kept.popleft()
        return [take for take in kept if take.kind == kind]

    def last_use(self, namespace: str) -> datetime | None:
        """Return when a session of the namespace last changed its status or asked for something."""
        newest = max((take.at for take in self._takes[namespace]), default=None)
        known = self._last_use.get(namespace)
        return max((moment for moment in (known, newest) if moment is not None), default=None)


def _harness_asked(summary: Summary) -> str | None:
    """Return what tells one asking from the next: the epoch that a warm harness took, or that one would take."""
    if summary.harness is not None:
        return str(summary.harness.epoch)
    return str(summary.epoch + 1) if summary.needs_pod else None


def _sandbox_asked(summary: Summary) -> str | None:
    return None if summary.sandbox is None else summary.sandbox.pod_name
