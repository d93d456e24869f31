"""A session, its resources and its one thread as the API shows them (API reference §4.5, §4.7). Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from managed_agents.contracts.api.session_resources import mount_path_of
from managed_agents.contracts.clock import parse_rfc3339
from managed_agents.contracts.ids import SessionId, primary_thread_id_for
from managed_agents.contracts.usage import ListPrice, UsageTotals
from managed_agents.eventlog.queries import SessionRecord

AGENT_DEFAULTS: Mapping[str, Any] = {
    "description": None,
    "system": None,
    "tools": [],
    "mcp_servers": [],
    "skills": [],
    "multiagent": None,
    "execution_identity": {"type": "service_account"},
}
_RESOURCE_FIELDS: Mapping[str, tuple[str, ...]] = {
    "file": ("file_id",),
    "github_repository": ("url", "checkout"),
}


def session_view(record: SessionRecord, now: datetime) -> dict[str, Any]:
    """Render a session with every field of the API."""
    config = record.config
    return {
        "id": record.session.id,
        "type": "session",
        "status": record.session.shown_status,
        "title": config.get("title"),
        "agent": {**AGENT_DEFAULTS, **config["agent"]},
        "environment_id": config["environment"]["id"],
        "deployment_id": None,
        "vault_ids": list(config.get("vault_ids") or []),
        "resources": [resource_view(entry) for entry in config.get("resources") or []],
        "metadata": dict(config.get("metadata") or {}),
        "outcome_evaluations": [],
        "usage": usage_of(record),
        "stats": _stats(record, now),
        "budget": config.get("budget"),
        "created_at": record.created_at,
        "updated_at": record.updated_at,
        "archived_at": record.archived_at,
    }


def resource_view(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Render one resource of a config."""
    return {
        "id": entry["id"],
        "type": entry["type"],
        **{field: entry.get(field) for field in _RESOURCE_FIELDS[entry["type"]]},
        "mount_path": mount_path_of(entry),
        "created_at": entry["created_at"],
        "updated_at": entry["updated_at"],
    }


def thread_view(record: SessionRecord, now: datetime, *, started_at: str | None) -> dict[str, Any]:
    """Render the primary thread; `started_at` is when it first ran, null until then."""
    agent = {**AGENT_DEFAULTS, **record.config["agent"]}
    agent.pop("multiagent")
    startup = None if started_at is None else _seconds(record.created_at, parse_rfc3339(started_at))
    return {
        "id": primary_thread_id_for(SessionId(record.session.id)),
        "type": "session_thread",
        "session_id": record.session.id,
        "agent": agent,
        "status": record.session.shown_status,
        "parent_thread_id": None,
        "workflow_run_id": None,
        "stats": None if started_at is None else {**_stats(record, now), "startup_seconds": startup},
        "usage": record.session.projection.usage,
        "created_at": record.created_at,
        "updated_at": record.updated_at,
        "archived_at": record.archived_at,
    }


def usage_of(record: SessionRecord) -> dict[str, Any]:
    """Return what a session has used so far."""
    usage = record.session.projection.usage
    if usage is not None:
        return dict(usage)
    price = (record.config.get("model_provider") or {}).get("list_price")
    return UsageTotals().snapshot(active_seconds=0.0, price=None if price is None else ListPrice.parse(price))


def _stats(record: SessionRecord, now: datetime) -> dict[str, float]:
    """Return the running time, counting the turn that is open, and the age, which stands still once it has ended."""
    projection = record.session.projection
    active = float((projection.usage or {}).get("active_seconds") or 0.0)
    if projection.status == "running":
        active += _seconds(projection.status_since, now)
    ended = parse_rfc3339(projection.status_since) if projection.status == "terminated" else now
    return {"active_seconds": round(active, 3), "duration_seconds": _seconds(record.created_at, ended)}


def _seconds(start: str, end: datetime) -> float:
    return round(max((end - parse_rfc3339(start)).total_seconds(), 0.0), 3)
