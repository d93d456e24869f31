"""Results of calls: those the supervisor makes itself, and the check of those that the runner sends."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from managed_agents.sandbox.supervisor.logs import timestamp

Result = dict[str, Any]
_BLOCKS = {"text", "image", "document"}
_OUTCOMES = {"completed", "interrupted"}

LOST = (
    "the tools container was killed while the tool ran (OOMKilled, or killed from outside); what it did until then "
    "may have taken effect, its processes and the shell's state are gone, files in the workspace remain"
)
UNKNOWN = "outcome unknown: the sandbox's supervisor restarted while the tool ran; it may or may not have taken effect"
NOT_STARTED = "the tool did not run: the connection to the tools container was lost before it began"
NEVER_STARTED = "interrupted before it started"
NOT_KEPT = "the call had ended before, but its result is no longer kept in the sandbox"
MALFORMED = "the sandbox's runner sent a malformed result"


def error_result(text: str, outcome: str) -> Result:
    """Return an error result of the supervisor's own."""
    return result_now([{"type": "text", "text": text}], is_error=True, outcome=outcome)


def result_now(content: list[Any], *, is_error: bool, outcome: str) -> Result:
    """Return a result that ends now."""
    return {"content": content, "is_error": is_error, "outcome": outcome, "finished_at": timestamp(datetime.now(UTC))}


def result_of_frame(frame: dict[str, Any]) -> Result:
    """Return the result in a runner's frame; an error one where it is malformed, for user code may have sent it."""
    content, is_error, outcome = frame.get("content"), frame.get("is_error"), frame.get("outcome")
    blocks = content if isinstance(content, list) else []
    well_formed = bool(blocks) and all(_is_block(block) for block in blocks)
    if not well_formed or not isinstance(is_error, bool) or outcome not in _OUTCOMES:
        return error_result(MALFORMED, "unknown")
    return result_now(blocks, is_error=is_error, outcome=str(outcome))


def _is_block(block: Any) -> bool:
    if not isinstance(block, dict) or block.get("type") not in _BLOCKS:
        return False
    if block["type"] == "text":
        return isinstance(block.get("text"), str) and set(block) == {"type", "text"}
    return isinstance(block.get("source"), dict)


def public(record: dict[str, Any]) -> Result:
    """Return a journaled result as the contract shows it."""
    shown = {name: record[name] for name in ("content", "is_error", "outcome", "finished_at")}
    return {**shown, "run_ms": record["run_ms"]} if "run_ms" in record else shown
