"""Which script a conversation follows: one it carries itself, or one that a test queued."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from managed_agents.simulator.conversation import Turn, user_texts
from managed_agents.simulator.planning import Script
from managed_agents.simulator.script import parse_script, script_in
from managed_agents.simulator.steps import Step

PARSED_MAX: Final = 256
QUEUED_MAX: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedScript:
    """Steps for every user message that contains the text; `None` is every user message."""

    id: str
    contains: str | None
    steps: tuple[Step, ...]


@dataclass(slots=True)
class Scripts:
    """The queued scripts, and the parsed form of those seen in messages (reading YAML is slow)."""

    _queued: list[QueuedScript] = field(default_factory=list)
    _parsed: OrderedDict[str, tuple[Step, ...]] = field(default_factory=OrderedDict)
    _count: int = 0

    def queue(self, contains: str | None, steps: tuple[Step, ...]) -> QueuedScript:
        """Add a script; it stays until `clear`, and comes before those queued earlier."""
        self._count += 1
        queued = QueuedScript(id=f"script_{self._count}", contains=contains, steps=steps)
        self._queued.append(queued)
        del self._queued[:-QUEUED_MAX]
        return queued

    def clear(self) -> int:
        """Forget the queued scripts; returns how many there were."""
        count = len(self._queued)
        self._queued.clear()
        return count

    def script_for(self, turns: Sequence[Turn]) -> Script | None:
        """The script of the latest user message that carries or matches one. Raises `ScriptError`."""
        for index, text in user_texts(turns):
            own = script_in(text)
            if own is not None:
                return Script(steps=self._steps_of(own), turn=index)
            queued = next((q for q in reversed(self._queued) if q.contains is None or q.contains in text), None)
            if queued is not None:
                return Script(steps=queued.steps, turn=index)
        return None

    def _steps_of(self, text: str) -> tuple[Step, ...]:
        steps = self._parsed.get(text)
        if steps is None:
            steps = self._parsed[text] = parse_script(text)
            if len(self._parsed) > PARSED_MAX:
                self._parsed.popitem(last=False)
        return steps


@dataclass(slots=True)
class Attempts:
    """How often each conversation was sent, by digest; bounded, the least recent one is forgotten first."""

    limit: int = 50_000
    _seen: OrderedDict[bytes, int] = field(default_factory=OrderedDict)

    def next(self, digest: bytes) -> int:
        """Count one more request; returns how many came before it."""
        before = self._seen.get(digest, 0)
        self._seen[digest] = before + 1
        self._seen.move_to_end(digest)
        if len(self._seen) > self.limit:
            self._seen.popitem(last=False)
        return before
