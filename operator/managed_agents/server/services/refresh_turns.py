"""Which session may renew a grant that several share: one at a time, and never a grant that was renewed already.

Many authorization servers take a refresh token once, and revoke the whole grant when it comes twice. Held in memory:
after a restart of the server the compare-and-swap of the write-back still keeps one of two.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

from managed_agents.contracts.clock import Clock

TURN_SECONDS = 10.0
"""Longer than a proxy asks a token endpoint; a turn that nobody ends is over then."""

RENEWED_MAX = 4096
"""Versions of grants that are known to be renewed; the oldest is forgotten first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshTurns:
    """The turns that are taken, by the credential's id."""

    clock: Clock
    _turns: dict[str, tuple[str, float]] = field(default_factory=dict)
    _renewed: OrderedDict[tuple[str, str], None] = field(default_factory=OrderedDict)

    def take(self, credential_id: str, version: str, session_id: str) -> bool:
        """Take the turn, again if it is this session's; tell whether that is so."""
        if (credential_id, version) in self._renewed:
            return False
        owner, until = self._turns.get(credential_id, (session_id, 0.0))
        now = self.clock.monotonic()
        if owner != session_id and now < until:
            return False
        self._turns[credential_id] = (session_id, now + TURN_SECONDS)
        return True

    def end(self, credential_id: str, session_id: str) -> None:
        """End a turn, if it is this session's."""
        if self._turns.get(credential_id, ("", 0.0))[0] == session_id:
            del self._turns[credential_id]

    def renewed(self, credential_id: str, version: str) -> None:
        """Remember that a grant of this version has a successor."""
        self._renewed[(credential_id, version)] = None
        if len(self._renewed) > RENEWED_MAX:
            self._renewed.popitem(last=False)
