"""What the status of an Environment says of its warm pools, and when a change of it is worth a write."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from managed_agents.contracts.clock import Clock
from managed_agents.operator.pools.demand import PoolKind
from managed_agents.operator.pools.quantities import Requests

TELL_SECONDS = 5.0
"""Between two writes of one Environment's counts: they change with each take and each Pod that starts."""

_FIELDS: Mapping[PoolKind, str] = {"harness": "harnesses", "sandbox": "sandboxes"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many a pool shall hold and how many are ready; what all that it shall hold requests from the cluster."""

    wanted: int
    ready: int
    requests: Requests

    def manifest(self) -> dict[str, Any]:
        """Render for the status."""
        return {"wanted": self.wanted, "ready": self.ready, "requests": self.requests.manifest()}


class Standing:
    """The counts of each Environment's pools, as last reconciled."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._counts: defaultdict[tuple[str, str], dict[PoolKind, Counts]] = defaultdict(dict)
        self._told: dict[tuple[str, str], tuple[datetime, dict[PoolKind, Counts]]] = {}

    def note(self, namespace: str, environments: Iterable[str], kind: PoolKind, counts: Counts | None) -> None:
        """Keep the newest counts of the pool that those Environments share; None where it is gone."""
        for name in environments:
            if counts is None:
                self._counts[namespace, name].pop(kind, None)
            else:
                self._counts[namespace, name][kind] = counts

    def forget(self, namespace: str, present: Iterable[str]) -> None:
        """Forget the Environments of a namespace that are no longer there."""
        kept = set(present)
        for place in [place for place in self._counts if place[0] == namespace and place[1] not in kept]:
            del self._counts[place]
            self._told.pop(place, None)

    def status_of(self, namespace: str, name: str) -> dict[str, Any] | None:
        """Render `status.warm` of an Environment, which is about to be written; None where it has no pool."""
        counts = self._counts.get((namespace, name)) or {}
        self._told[namespace, name] = (self._clock.now(), dict(counts))
        shown = {_FIELDS[kind]: item.manifest() for kind, item in sorted(counts.items())}
        return shown or None

    def due(self, namespace: str) -> tuple[list[str], float | None]:
        """Return the Environments whose status should be written now, and in how many seconds the next one should."""
        now, names, later = self._clock.now(), [], []
        for (place, name), counts in self._counts.items():
            at, told = self._told.get((place, name), (None, {}))
            if place != namespace or told == counts:
                continue
            left = 0.0 if at is None else TELL_SECONDS - (now - at).total_seconds()
            if left <= 0:
                names.append(name)
            else:
                later.append(left)
        return names, min(later, default=None)
