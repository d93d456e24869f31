"""What the operator counts, for Prometheus. Names carry their unit."""

from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


@dataclass(frozen=True, slots=True)
class Metrics:
    """All metrics of one process, in a registry of their own."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    reconciles: Counter = field(init=False)
    reconcile_seconds: Histogram = field(init=False)
    writes: Counter = field(init=False)
    session_writes: Histogram = field(init=False)
    queue_keys: Gauge = field(init=False)
    is_leader: Gauge = field(init=False)

    def __post_init__(self) -> None:
        """Register each metric; a frozen dataclass sets its fields this way."""
        made = {
            "reconciles": Counter(
                "operator_reconciles_total", "Reconciles", ["kind", "result"], registry=self.registry
            ),
            "reconcile_seconds": Histogram(
                "operator_reconcile_seconds", "Seconds of one reconcile", ["kind"], registry=self.registry
            ),
            "writes": Counter(
                "operator_writes_total", "Writes at the kube-apiserver", ["resource", "verb"], registry=self.registry
            ),
            "session_writes": Histogram(
                "operator_session_writes",
                "Writes in the life of one Session, Events apart",
                buckets=(4, 6, 8, 10, 12, 14, 16, 20, 24, 32, 64),
                registry=self.registry,
            ),
            "queue_keys": Gauge("operator_queue_keys", "Keys that wait or run", registry=self.registry),
            "is_leader": Gauge("operator_is_leader", "1 while this process holds the Lease", registry=self.registry),
        }
        for name, metric in made.items():
            object.__setattr__(self, name, metric)
