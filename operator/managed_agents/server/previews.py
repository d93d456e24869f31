"""Which previews one reader gets: the rules of the API for `event_start` and `event_delta` (API reference §7)."""

from collections.abc import Mapping
from typing import Any

from managed_agents.contracts.events import types

PREVIEWABLE = frozenset({types.AGENT_MESSAGE, types.AGENT_THINKING})
"""Event types whose previews a stream may ask for."""

_CLOSED = -1


def previewed_id(event: Mapping[str, Any]) -> str | None:
    """Return the id of the event that a preview belongs to, null when it is no preview."""
    match event:
        case {"type": types.EVENT_START, "event": {"id": str(event_id), "type": str()}}:
            return event_id
        case {"type": types.EVENT_DELTA, "event_id": str(event_id), "delta": dict()}:
            return event_id
        case _:
            return None


class PreviewGate:
    """One reader's previews of the model request that runs.

    Nothing passes before a request has begun in front of the reader: previews of one that was in flight when it
    connected would begin somewhere in the middle. Per event: one start, then deltas whose indices neither skip nor go
    back, none after one was left out (what passed stays a prefix), and nothing after the event itself.
    """

    def __init__(self, wanted: frozenset[str]) -> None:
        self._wanted = wanted
        self._open = False
        self._blocks: dict[str, int] = {}

    def stored(self, event_id: str, event_type: str, *, live: bool) -> None:
        """Note an event of the log. `live`: the reader gets it now, not later from the log."""
        match event_type:
            case types.REQUEST_START:
                self._open = live
                self._blocks.clear()
            case types.REQUEST_END:
                self._open = False
                self._blocks.clear()
            case _ if self._open:
                self._blocks[event_id] = _CLOSED

    def admits(self, event: Mapping[str, Any], *, shed: bool) -> bool:
        """Tell whether the reader gets a preview. `shed`: it is too slow for it, and gets no more of this event."""
        if not self._open:
            return False
        match event:
            case {"type": types.EVENT_START, "event": {"id": str(event_id), "type": str(kind)}}:
                return self._admits_start(event_id, kind, shed)
            case {"type": types.EVENT_DELTA, "event_id": str(event_id), "delta": dict(delta)}:
                return self._admits_delta(event_id, delta.get("index") or 0, shed)
            case _:
                return False

    def _admits_start(self, event_id: str, kind: str, shed: bool) -> bool:
        if kind not in self._wanted or event_id in self._blocks:
            return False
        self._blocks[event_id] = _CLOSED if shed or kind != types.AGENT_MESSAGE else 0
        return not shed

    def _admits_delta(self, event_id: str, index: object, shed: bool) -> bool:
        blocks = self._blocks.get(event_id, _CLOSED)
        if blocks == _CLOSED:
            return False
        if shed or not isinstance(index, int) or not max(blocks - 1, 0) <= index <= blocks:
            self._blocks[event_id] = _CLOSED
            return False
        self._blocks[event_id] = max(blocks, index + 1)
        return True
