"""Step 2: put the finalizer on, then tell the server what the Session is and which events it holds. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson

from managed_agents.contracts import names
from managed_agents.contracts.api import conditions
from managed_agents.contracts.api.casing import to_snake
from managed_agents.contracts.api.session_configs import ANNOTATION_INTENT, ANNOTATION_ORIGIN, ORIGIN_API
from managed_agents.kube.resources import SESSIONS
from managed_agents.operator.actions import Action, DeleteChild, PutSession, SetFinalizer
from managed_agents.operator.cache import EVENT_MANAGERS
from managed_agents.operator.sessions.admit import Admission, Refusal
from managed_agents.operator.sessions.announcements import announce
from managed_agents.operator.sessions.model import Observed, StepResult


def provision(observed: Observed, admission: Admission | Refusal, now: datetime) -> StepResult:
    """Return what the server must hear. Nothing leaves the cluster's API before the finalizer is on."""
    put = put_session(observed, admission, now)
    actions: list[Action] = []
    if not observed.has_finalizer:
        actions.append(SetFinalizer(session=observed.session, present=True))
    if put is not None and put.digest != observed.memory.put_digest:
        actions.append(put)
    return StepResult(actions=tuple(actions), requeue_after=_until_outlived(observed, now))


def put_session(observed: Observed, admission: Admission | Refusal, now: datetime) -> PutSession | None:
    """Build the whole truth about a Session for the server; None while a reference is missing.

    Events wait here until the reference is mended; only the end of the session is told nevertheless.
    """
    archived = is_archived(observed, now)
    if isinstance(admission, Refusal) and (observed.summary is None or not archived):
        return None
    config = admission.config if isinstance(admission, Admission) else None
    if config is None and not archived and is_delivered(observed):
        return None  # its Agent is gone, and nothing new is asked for
    events = tuple(to_snake(event) for event in observed.session["spec"].get("events") or [])
    content = orjson.dumps([config, events, archived], option=orjson.OPT_SORT_KEYS)
    return PutSession(
        session_id=observed.session_id,
        config=config,
        events=_with_managers(observed, events),
        archived=is_archive_asked(observed, now),
        intent=intent_of(observed),
        digest=names.short_hash(content.decode(), 32),
    )


def _with_managers(observed: Observed, events: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
    """Say with each event who wrote it. That alone makes no new truth: it is no part of the digest."""
    managers = observed.session["metadata"].get(EVENT_MANAGERS) or {}
    return tuple({**event, **_manager_of(event["name"], managers)} for event in events)


def _manager_of(name: str, managers: Mapping[str, str]) -> dict[str, str]:
    return {"manager": managers[name]} if name in managers else {}


def intent_of(observed: Observed) -> str | None:
    """Return the intent that the public API created the Session for, until the server has bound it."""
    annotations: dict[str, str] = observed.session["metadata"].get("annotations") or {}
    return annotations.get(ANNOTATION_INTENT) if observed.summary is None else None


def is_archive_asked(observed: Observed, now: datetime) -> bool:
    """Tell whether the session shall be archived: asked for, or idle for longer than its time to live.

    One that the public API made is deleted then instead; GitOps would make anew what its manifests hold, and run it.
    """
    is_over = _is_outlived(observed, now) and not _is_of_api(observed)
    return bool(observed.session["spec"].get("archived")) or is_over


def expire(observed: Observed, now: datetime) -> StepResult:
    """Delete a session that the public API made once it has been idle for longer than its time to live."""
    if not (_is_outlived(observed, now) and _is_of_api(observed)):
        return StepResult()
    metadata = observed.session["metadata"]
    text = f"idle for longer than ttlSecondsAfterIdle, {observed.session['spec']['ttlSecondsAfterIdle']} s"
    gone = DeleteChild(resource=SESSIONS, namespace=observed.namespace, name=metadata["name"], uid=metadata["uid"])
    return StepResult(actions=(announce(observed, conditions.DELETING, text), gone))


def is_delivered(observed: Observed) -> bool:
    """Tell whether each event of this generation is in the log, or refused for ever."""
    if observed.summary is None:
        return False
    return event_names(observed) <= observed.summary.processed_names


def event_names(observed: Observed) -> frozenset[str]:
    """Return the names of the events that the Session's specification holds."""
    return frozenset(event["name"] for event in observed.session["spec"].get("events") or [])


def is_archived(observed: Observed, now: datetime) -> bool:
    """Tell whether the session takes no more events, or shall take none."""
    return observed.is_terminated or is_archive_asked(observed, now)


def _is_of_api(observed: Observed) -> bool:
    annotations = observed.session["metadata"].get("annotations") or {}
    return annotations.get(ANNOTATION_ORIGIN) == ORIGIN_API


def _is_outlived(observed: Observed, now: datetime) -> bool:
    left = _until_outlived(observed, now)
    return left is not None and left <= 0


def _until_outlived(observed: Observed, now: datetime) -> float | None:
    seconds = observed.session["spec"].get("ttlSecondsAfterIdle")
    summary = observed.summary
    if seconds is None or summary is None or summary.status != "idle" or summary.wanted or summary.head == 0:
        return None
    return float(seconds) - (now - summary.status_since).total_seconds()
