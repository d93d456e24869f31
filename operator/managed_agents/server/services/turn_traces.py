"""Each turn as a trace of OpenTelemetry, made from its timing record at its end; off unless an endpoint is named.

The record knows durations by the server's monotonic clock and one time of day, that of the turn's end; the spans are
laid backwards from there. A step that was reached several times is one span as long as its mean, with count, sum and
longest as attributes, so that a turn of a thousand tool calls is still eighteen spans.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import structlog
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, Tracer
from opentelemetry.util.types import AnyValue

from managed_agents.contracts.clock import parse_rfc3339
from managed_agents.contracts.turn_timing import SEGMENT_OF, Step, StepTime, TurnTiming, segments_of

SERVICE = "managed-agents-server"
_NANOSECONDS = 1000
"""In a microsecond, which is what the record counts in."""


@contextlib.asynccontextmanager
async def exporting() -> AsyncIterator[Callable[[TurnTiming], None]]:
    """Give a listener that sends each turn, from a thread of the exporter's own; at the end, what waits is sent."""
    provider = TracerProvider(resource=Resource.create({"service.name": SERVICE}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    structlog.get_logger(__name__).info("turn_traces_on")
    tracer = provider.get_tracer(__name__)
    try:
        yield lambda timing: tell(tracer, timing)
    finally:
        await asyncio.to_thread(provider.shutdown)


def tell(tracer: Tracer, timing: TurnTiming) -> None:
    """Make the spans of a turn: one for the whole, below it one for each step."""
    if not timing.ended_at:
        return
    ended = int(parse_rfc3339(timing.ended_at).timestamp() * 1_000_000_000)
    began = ended - timing.total * _NANOSECONDS
    segments = {f"managed_agents.{name}_ms": spent / 1000 for name, spent in segments_of(timing).items()}
    attributes: dict[str, AnyValue] = {
        "managed_agents.session.id": timing.session,
        "managed_agents.thread.id": timing.thread,
        "managed_agents.turn": timing.turn,
        "managed_agents.first_position": timing.first_position,
        "managed_agents.last_position": timing.last_position,
    }
    whole = tracer.start_span("turn", start_time=began, attributes={**attributes, **segments})
    for step, times in timing.steps.items():
        if step is not Step.INPUT:
            _step(tracer, whole, began, step, times)
    whole.end(ended)


def _step(tracer: Tracer, whole: Span, began: int, step: Step, times: StepTime) -> None:
    """Lay a step's span before the moment at which it was first reached."""
    reached = began + times.at * _NANOSECONDS
    length = min(times.total // times.count, times.at) * _NANOSECONDS
    attributes = {
        "managed_agents.step": step.value,
        "managed_agents.segment": SEGMENT_OF[step].value,
        "managed_agents.count": times.count,
        "managed_agents.sum_ms": times.total / 1000,
        "managed_agents.max_ms": times.most / 1000,
    }
    span = tracer.start_span(
        step.name.lower(),
        context=trace.set_span_in_context(whole),
        start_time=reached - length,
        attributes=attributes,
    )
    span.end(reached)
