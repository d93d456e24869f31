"""A session's summary, as docs/internal-api.md defines it: a pure view of the log's record and the lease."""

from dataclasses import asdict
from typing import Any

from managed_agents.eventlog.records import Sandbox, Session
from managed_agents.server.services.leases import Leases

LOG_DAMAGED = "LogDamaged"
"""Reason of the error that a session with a damaged record shows (F3)."""


def summary_of(session: Session, *, revision: int, leases: Leases) -> dict[str, Any]:
    """Render the summary."""
    projection, lease_pod_uid = session.projection, leases.holder(session.id)
    return {
        "id": session.id,
        "uid": session.uid,
        "namespace": session.namespace,
        "name": session.name,
        "revision": revision,
        "head": projection.head,
        "epoch": session.epoch,
        "leased": lease_pod_uid is not None,
        "lease_pod_uid": lease_pod_uid,
        "wanted": session.wanted,
        "needs_pod": leases.needs_pod(session),
        "harness": None if session.harness is None else asdict(session.harness),
        "released": session.released,
        "status": projection.status,
        "status_since": projection.status_since,
        "stop_reason": projection.stop_reason,
        "requires_action": [_action(session, event_id) for event_id in projection.requires_action],
        "usage": projection.usage,
        "last_message": projection.last_message,
        "last_error": _damage(session) or projection.last_error,
        "client_head": projection.client_head,
        "delivered": list(session.delivered),
        "rejected": list(session.rejected),
        "sandbox": None if session.sandbox is None else _sandbox(session.sandbox),
        "workspace": session.workspace,
        "collecting": leases.last_looks.awaited(session.id),
    }


def _action(session: Session, event_id: str) -> dict[str, Any]:
    entry = session.projection.pending[event_id]
    return {"event_id": event_id, "tool": entry["tool"], "input_excerpt": entry["input_excerpt"]}


def _damage(session: Session) -> dict[str, Any] | None:
    if session.damage is None:
        return None
    return {
        "type": "unknown_error",
        "reason": LOG_DAMAGED,
        "message": session.damage,
        "retry_status": "terminal",
        "position": session.projection.head,
    }


def _sandbox(sandbox: Sandbox) -> dict[str, Any]:
    return {
        "pod_name": sandbox.pod_name,
        "generation": sandbox.generation,
        "state": sandbox.state,
        "token_sha256": sandbox.token_sha256,
        "pod_uid": sandbox.pod_uid,
        "address": sandbox.address,
        "reason": sandbox.reason,
        "message": sandbox.message,
    }
