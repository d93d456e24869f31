"""Which appends end or open a turn: told of once the server has stored them, for that is when to look for outputs."""

import re
from typing import Final, Protocol

_IDLE: Final = b'"session.status_idle"'
_RUNNING: Final = b'"session.status_running"'

_ASKED = re.compile(rb'\{"type":"append","call":(\d+),')
_ANSWERED = re.compile(rb'\{"type":"answer","call":(\d+),"status":(\d+),')
"""How frames of appends begin, and of their answers (docs/internal-api.md, "Wake")."""

WAITING_MAX = 64
"""Appends of one connection that are remembered; a harness has one at a time."""


class Turns(Protocol):
    """Who wants to know of turns."""

    def idle(self) -> None:
        """Hear that a turn has ended."""
        ...

    def running(self) -> None:
        """Hear that a turn has begun."""
        ...


def tell(turns: Turns, stored: bytes) -> None:
    """Tell of the turn that a stored body ended, and of the one that it began after that."""
    idle, running = stored.rfind(_IDLE), stored.rfind(_RUNNING)
    if idle >= 0:
        turns.idle()
    if running > idle:
        turns.running()


class Appends:
    """The appends of one wake socket on their way. Frames that are none pass for the price of a comparison."""

    def __init__(self, turns: Turns | None) -> None:
        self._turns = turns
        self._waiting: dict[bytes, bytes] = {}

    def asked(self, frame: bytes) -> None:
        """Look at a frame of the harness."""
        found = _ASKED.match(frame)
        if found is not None and (_IDLE in frame or _RUNNING in frame) and len(self._waiting) < WAITING_MAX:
            self._waiting[found[1]] = frame

    def answered(self, frame: bytes) -> None:
        """Look at a frame of the server."""
        if not self._waiting:
            return
        found = _ANSWERED.match(frame)
        append = None if found is None else self._waiting.pop(found[1], None)
        if found is not None and append is not None and found[2] == b"200" and self._turns is not None:
            tell(self._turns, append)
