"""What counters and moments say: writes at the kube-apiserver, quantiles of a load, which rate held. Pure."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.stats import quantile

WRITE_VERBS = frozenset({"POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION"})
REVIEWS = frozenset({"tokenreviews", "subjectaccessreviews", "serviceaccounts/token"})
"""Asked by POST, and nothing is stored."""
BACKGROUND = frozenset({"leases", "nodes", "nodes/status", "events"})
"""What nodes and elections write whether or not a session wakes; and Events, which are counted apart."""

HELD_P99_MS = 150.0
"""The bound of design §9 from a Session's object to its first model request, on a warm harness."""
HELD_SHARE = 0.99

_SAMPLE = re.compile(r"^(?P<name>[a-zA-Z_:]+)(?:\{(?P<labels>[^}]*)\})? (?P<value>\S+)", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


def total_of(metrics: str, name: str) -> float:
    """Return the sum over all series of a metric."""
    return sum(float(found["value"]) for found in _SAMPLE.finditer(metrics) if found["name"] == name)


def writes_of(metrics: str) -> dict[str, float]:
    """Return how many successful writes a kube-apiserver counts, by `resource` or `resource/subresource`."""
    counts: defaultdict[str, float] = defaultdict(float)
    for found in _SAMPLE.finditer(metrics):
        if found["name"] != "apiserver_request_total":
            continue
        labels = dict(_LABEL.findall(found["labels"] or ""))
        is_write = labels.get("verb") in WRITE_VERBS and labels.get("dry_run", "") == ""
        if is_write and labels.get("code", "").startswith("2"):
            name = "/".join(part for part in (labels.get("resource", ""), labels.get("subresource", "")) if part)
            counts[name] += float(found["value"])
    return dict(counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Writes:
    """What a kube-apiserver was asked to write within a span."""

    stored: float
    """Writes of objects, without the background."""
    reviews: float
    events: float
    by_resource: Mapping[str, float]


def writes_between(before: Mapping[str, float], after: Mapping[str, float]) -> Writes:
    """Return what was written between two looks."""
    grown = {name: count - before.get(name, 0.0) for name, count in after.items() if count > before.get(name, 0.0)}
    stored = {name: count for name, count in grown.items() if name not in REVIEWS | BACKGROUND}
    return Writes(
        stored=sum(stored.values()),
        reviews=sum(count for name, count in grown.items() if name in REVIEWS),
        events=grown.get("events", 0.0),
        by_resource=dict(sorted(stored.items(), key=lambda item: -item[1])),
    )


def quantiles_of(milliseconds: Sequence[float]) -> dict[str, float]:
    """Return p50, p95, p99 and the count of samples."""
    if not milliseconds:
        return {"count": 0}
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    return {"count": len(milliseconds)} | {
        name: round(quantile(milliseconds, share), 1) for name, share in shares.items()
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One rate of a sweep: wakes asked for, those that got their lease, and the p99 of it in milliseconds."""

    rate: float
    asked: int
    leased: int
    p99_ms: float

    @property
    def has_held(self) -> bool:
        """Tell whether the rate was carried: as good as every wake was leased, and the slow ones soon enough."""
        return self.leased >= HELD_SHARE * self.asked and self.p99_ms <= HELD_P99_MS


def highest_held(loads: Iterable[Load]) -> float:
    """Return the highest rate that held, with all below it; 0 where none did."""
    highest = 0.0
    for load in sorted(loads, key=lambda load: load.rate):
        if not load.has_held:
            break
        highest = load.rate
    return highest


def each(total: float, count: float) -> float:
    """Divide, rounded for people; 0 where there is nothing to divide by."""
    return round(total / count, 3) if count else 0.0
