"""Conditions as a list of maps: built by name, with transition times kept where nothing turned. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from managed_agents.contracts.api import conditions as words
from managed_agents.kube.resources import Manifest

MESSAGE_CHARACTERS_MAX = 1024
"""A condition's message is one sentence; what quotes others is cut here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One condition as decided: a type, a truth, a stable reason and a sentence."""

    kind: str
    is_true: bool
    reason: str
    message: str = ""


def render(wanted: Iterable[Condition], owner: Manifest, generation: int, now: datetime) -> list[dict[str, Any]]:
    """Render conditions; `lastTransitionTime` moves with the status alone (Kubernetes convention)."""
    before = {item["type"]: item for item in (owner.get("status") or {}).get("conditions") or []}
    return [_rendered(condition, before.get(condition.kind), generation, now) for condition in wanted]


def _rendered(condition: Condition, before: Mapping[str, Any] | None, generation: int, now: datetime) -> dict[str, Any]:
    status = "True" if condition.is_true else "False"
    since = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if before is not None and before.get("status") == status:
        since = before["lastTransitionTime"]
    return {
        "type": condition.kind,
        "status": status,
        "reason": condition.reason,
        "message": condition.message[:MESSAGE_CHARACTERS_MAX],
        "observedGeneration": generation,
        "lastTransitionTime": since,
    }


def paused_status(owner: Manifest, now: datetime) -> dict[str, Any]:
    """Return the status of a paused object: what it was, and `Reconciling` false because of the annotation."""
    text = "the annotation managedagents.dev/paused stops reconciliation; remove it to go on"
    paused = Condition(kind=words.RECONCILING, is_true=False, reason=words.PAUSED, message=text)
    before = owner.get("status") or {}
    kept = [item for item in before.get("conditions") or [] if item["type"] != words.RECONCILING]
    return {**before, "conditions": [*kept, *render([paused], owner, int(owner["metadata"]["generation"]), now)]}
