"""Kubernetes Events on a Session: what is worth one, said once. Pure."""

from collections.abc import Mapping
from typing import Any

from managed_agents.contracts.api import conditions
from managed_agents.kube.resources import SESSIONS
from managed_agents.operator.actions import Action, Announce
from managed_agents.operator.sessions.model import Observed, condition_of

_TOLD = (conditions.READY, conditions.IDLE, conditions.STALLED, conditions.CREDENTIALS_READY)


def announce(observed: Observed, reason: str, message: str, fingerprint: str = "") -> Announce:
    """Build a Kubernetes Event on the Session."""
    return Announce(
        resource=SESSIONS, owner=observed.session, reason=reason, message=message, fingerprint=fingerprint or message
    )


def memory_announcements(observed: Observed, kills: dict[str, int]) -> list[Action]:
    """Say once for each time that a container of the session ran out of memory."""
    return [
        announce(
            observed, conditions.OOM_KILLED, f'a container of Pod "{name}" exceeded its memory limit', f"{name}/{n}"
        )
        for name, n in sorted(kills.items())
        if n > observed.memory.oom_kills.get(name, 0)
    ]


def memory_kills(observed: Observed) -> dict[str, int]:
    """Count, for each Pod of the session, the containers that ended for lack of memory."""
    readings = [pod.reading for pod in observed.harness_pods] + list(observed.sandbox_pods)
    return {reading.name: reading.oom_kills for reading in readings if reading.oom_kills}


def transition_announcements(observed: Observed, status: Mapping[str, Any]) -> list[Action]:
    """Say each new reason among the conditions of the status about to be written, and a turn that none showed."""
    found: dict[str, str] = _turn_between(observed, status)
    for condition in status["conditions"]:
        if condition["type"] not in _TOLD:
            continue
        before = condition_of(observed.session, condition["type"]) or {}
        changed = (before.get("status"), before.get("reason")) != (condition["status"], condition["reason"])
        if changed and condition["reason"] not in _QUIET:
            found.setdefault(condition["reason"], condition["message"])
    generation = observed.session["metadata"].get("generation")
    head = observed.summary.head if observed.summary else 0
    return [announce(observed, reason, text, f"{generation}/{head}") for reason, text in found.items()]


def _turn_between(observed: Observed, status: Mapping[str, Any]) -> dict[str, str]:
    """Say of a turn shorter than the operator's look (`urgency.py`) that it ran, and how it ended."""
    written = observed.session.get("status") or {}
    before = condition_of(observed.session, conditions.IDLE) or {}
    [idle] = [item for item in status["conditions"] if item["type"] == conditions.IDLE]
    is_over = idle["reason"] in conditions.IDLE_REASONS.values() and before.get("reason") != conditions.RUNNING
    if not is_over or status.get("usage") == written.get("usage"):
        return {}
    return {conditions.RUNNING: "a turn was open", idle["reason"]: idle["message"]}


_QUIET = frozenset(
    {
        conditions.PROGRESSING,
        conditions.CURRENT,
        conditions.DELIVERING,
        conditions.RECONCILING,
        conditions.VALID,
    }
)
"""Reasons that say nothing to a person who reads a list of Events."""
