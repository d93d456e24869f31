"""The status of a Session, whole, and when it is worth a write. Pure.

What a person or a tool waits for is written at once. What only grows while a turn runs (log head, usage, last
message) is written at doubling intervals, so that a session's life costs few writes, however long it runs (B17).
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import orjson

from managed_agents.contracts import names
from managed_agents.contracts.api.casing import to_camel
from managed_agents.operator.conditions import render
from managed_agents.operator.sessions.admit import Refusal
from managed_agents.operator.sessions.conditions import Findings, conditions_for, is_idle
from managed_agents.operator.sessions.model import Observed

PROGRESS_FIRST_SECONDS = 2.0
PROGRESS_MAX_SECONDS = 60.0
"""Between two writes of mere progress: as long as the turn has run, within these bounds."""

Phase = Literal["Pending", "Running", "Rescheduling", "Idle", "Terminated"]

_PROGRESS = ("log", "usage", "activeSeconds", "lastMessage", "sandbox")


def status_for(observed: Observed, findings: Findings, now: datetime) -> dict[str, Any]:
    """Build the status; a field without value is left out, so that server-side apply removes it."""
    generation = int(observed.session["metadata"]["generation"])
    status: dict[str, Any] = {
        "id": observed.session_id,
        "phase": phase_of(observed, findings),
        "conditions": render(conditions_for(observed, findings), observed.session, generation, now),
        "agent": _agent(observed, findings),
        "harness": _harness(observed),
    }
    if observed.summary is not None:
        status |= _from_summary(observed)
    return {key: value for key, value in status.items() if value is not None}


def phase_of(observed: Observed, findings: Findings) -> Phase:
    """Return one word for people; no code decides on it."""
    summary = observed.summary
    if summary is None:
        return "Pending"
    match summary.status:
        case "terminated":
            return "Terminated"
        case "rescheduling":
            return "Rescheduling"
        case "running":
            return "Running"
        case "idle":
            if is_idle(observed, findings):
                return "Idle"
            return "Pending" if summary.epoch == 0 else "Running"


def write_after(observed: Observed, status: Mapping[str, Any], now: datetime) -> float | None:
    """Return in how many seconds the status should be written (0: now), or None when it is written already."""
    written = observed.session.get("status") or {}
    if _normal(written) == _normal(status) or digest_of(status) == observed.memory.status_digest:
        return None
    if _material(written) != _material(status) or observed.memory.status_written_at is None:
        return 0.0
    if observed.summary is None or observed.summary.status == "idle":
        return 0.0
    running = (now - observed.summary.status_since).total_seconds()
    interval = min(max(running, PROGRESS_FIRST_SECONDS), PROGRESS_MAX_SECONDS)
    return max(interval - (now - observed.memory.status_written_at).total_seconds(), 0.0)


def digest_of(status: Mapping[str, Any]) -> str:
    """Digest a status as built, to know one that the server pruned or rendered otherwise."""
    return names.short_hash(orjson.dumps(_normal(status), option=orjson.OPT_SORT_KEYS).decode(), 32)


def _normal(status: Mapping[str, Any]) -> dict[str, Any]:
    conditions = [
        {key: value for key, value in item.items() if key != "lastTransitionTime"}
        for item in sorted(status.get("conditions") or [], key=lambda item: str(item["type"]))
    ]
    return {**status, "conditions": conditions}


def _material(status: Mapping[str, Any]) -> dict[str, Any]:
    normal = _normal(status)
    conditions = [{key: value for key, value in item.items() if key != "message"} for item in normal["conditions"]]
    return {key: value for key, value in normal.items() if key not in _PROGRESS} | {"conditions": conditions}


def _agent(observed: Observed, findings: Findings) -> dict[str, Any] | None:
    written: dict[str, Any] | None = (observed.session.get("status") or {}).get("agent")
    snapshot = observed.catalog.snapshot
    if snapshot is None or (isinstance(findings.admission, Refusal) and not written):
        return written
    name = observed.session["spec"]["agentRef"]["name"]
    return {"name": name, "version": snapshot["version"], "model": snapshot["model"]["id"]}


def _harness(observed: Observed) -> dict[str, Any] | None:
    if observed.deployment is None or observed.deployment["metadata"].get("deletionTimestamp"):
        return None
    return {"deploymentName": observed.deployment["metadata"]["name"]}


def _from_summary(observed: Observed) -> dict[str, Any]:
    summary = observed.summary
    if summary is None:
        return {}
    held = [event["name"] for event in observed.session["spec"].get("events") or []]
    delivered = [name for name in held if name in summary.delivered]
    rejected = [
        {key: item[key] for key in ("name", "reason", "message") if item.get(key)}
        for item in summary.rejected
        if item["name"] in held
    ]
    sandbox_pods = {pod.name for pod in observed.sandbox_pods}
    sandbox = summary.sandbox.pod_name if summary.sandbox and summary.sandbox.pod_name in sandbox_pods else None
    return {
        "stopReason": to_camel(_pruned(dict(summary.stop_reason))) if summary.stop_reason else None,
        "events": {"delivered": delivered, "rejected": rejected},
        "log": {"head": summary.head, "epoch": summary.epoch},
        "usage": _usage(summary.usage),
        "activeSeconds": _active_seconds(summary.usage),
        "lastMessage": _pruned(dict(summary.last_message)) if summary.last_message else None,
        "requiresAction": [to_camel(_pruned(dict(item))) for item in summary.requires_action],
        "sandbox": {"podName": sandbox} if sandbox else None,
    }


def _usage(usage: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if usage is None:
        return None
    creation = usage.get("cache_creation") or {}
    total = sum(usage.get(key) or 0 for key in ("input_tokens", "output_tokens", "cache_read_input_tokens"))
    total += sum(value or 0 for value in creation.values())
    rendered: dict[str, Any] = to_camel({key: value for key, value in usage.items() if key != "active_seconds"})
    return _pruned(rendered | {"totalTokens": total})


def _active_seconds(usage: Mapping[str, Any] | None) -> int | None:
    """Whole seconds, so that a status does not change with every digit."""
    seconds = (usage or {}).get("active_seconds")
    return None if seconds is None else round(seconds)


def _pruned(value: dict[str, Any]) -> dict[str, Any]:
    return {key: item for key, item in value.items() if item is not None}
