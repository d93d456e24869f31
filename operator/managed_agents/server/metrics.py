"""What the server measures, for Prometheus."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from managed_agents.contracts.turn_timing import Segment, TurnTiming, segments_of

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 5)
_TURN_SECONDS = (0.005, 0.025, 0.1, 0.25, 1, 2.5, 10, 30, 120, 600)


class Metrics:
    """The server's counters, in a registry of their own so that two servers fit in one test process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        prefix = "managed_agents_server_"
        self.append_seconds = Histogram(
            prefix + "append_seconds",
            "From an append's arrival to its commit",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.events = Counter(prefix + "events", "Events stored", ["door"], registry=self.registry)
        self.requests = Counter(
            prefix + "requests", "HTTP requests answered", ["port", "method", "route", "status"], registry=self.registry
        )
        self.request_seconds = Histogram(
            prefix + "request_seconds",
            "From a request to its answer, streams and other endless answers left out",
            ["port", "method", "route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.delivery_seconds = Histogram(
            prefix + "stream_delivery_seconds",
            "From a commit to its readers' sockets: once for those that were ready, once for each that was not",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.dropped_streams = Counter(
            prefix + "dropped_streams", "Streams dropped for slowness", registry=self.registry
        )

        turns = Histogram(
            prefix + "turn_seconds",
            "From a turn's first event to its end",
            buckets=_TURN_SECONDS,
            registry=self.registry,
        )
        segments = Histogram(
            prefix + "turn_segment_seconds",
            "Where the time of a turn went, once for each segment that took any",
            ["segment"],
            buckets=_TURN_SECONDS,
            registry=self.registry,
        )
        self._turn = turns.observe
        self._segments = {segment: segments.labels(segment).observe for segment in Segment}

    def turn(self, timing: TurnTiming) -> None:
        """Count a turn."""
        self._turn(timing.total / 1_000_000)
        for segment, microseconds in segments_of(timing).items():
            if microseconds:
                self._segments[segment](microseconds / 1_000_000)

    def gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Add a gauge that is read when somebody asks."""
        Gauge("managed_agents_server_" + name, text, registry=self.registry).set_function(value)
