"""A turn's record as the API shows it (docs/observability.md). Pure."""

from typing import Any

from managed_agents.contracts.turn_timing import Segment, Step, StepTime, TurnTiming, segments_of


def timing_view(timing: TurnTiming) -> dict[str, Any]:
    """Render a record, in milliseconds; steps and segments that the turn did not have are left out."""
    segments = segments_of(timing)
    return {
        "type": "turn_timing",
        "session_id": timing.session,
        "session_thread_id": timing.thread,
        "turn": timing.turn,
        "first_position": timing.first_position,
        "last_position": timing.last_position,
        "ended_at": timing.ended_at,
        "total_ms": timing.total / 1000,
        "segments": {segment.value: segments[segment] / 1000 for segment in Segment if segment in segments},
        "steps": {step.value: _step(timing.steps[step]) for step in Step if step in timing.steps},
    }


def _step(times: StepTime) -> dict[str, float]:
    return {
        "at_ms": times.at / 1000,
        "count": times.count,
        "sum_ms": times.total / 1000,
        "max_ms": times.most / 1000,
    }
