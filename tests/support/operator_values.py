"""Plain values for the operator's unit and property tests, and a model of what each action does to them."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from managed_agents.contracts import ids, names
from managed_agents.contracts.api.agents import snapshot_for
from managed_agents.kube.resources import CLAIMS, DEPLOYMENTS, PODS, Manifest
from managed_agents.operator.actions import (
    Action,
    AdoptChild,
    Announce,
    CreateChild,
    DeleteChild,
    DeleteSession,
    EnsureNamespace,
    PutSession,
    RegisterPod,
    ReleaseHarness,
    ReportSandbox,
    ServerAction,
    SetFinalizer,
    UnregisterPod,
    UpdateChild,
    WriteStatus,
)
from managed_agents.operator.sessions.model import Catalog, HarnessPod, Memory, Observed
from managed_agents.operator.sessions.pod_state import PodReading, read_pod
from managed_agents.operator.sessions.status import digest_of
from managed_agents.operator.settings import SessionSettings
from managed_agents.operator.summaries import Summary

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
UID = "11111111-2222-3333-4444-555555555555"
AGENT: Manifest = {
    "apiVersion": "managedagents.dev/v1alpha1",
    "kind": "Agent",
    "metadata": {"name": "bot", "namespace": "team-a", "uid": "aaaa", "generation": 1},
    "spec": {"model": {"id": "simulated"}},
    "status": {"version": 1, "conditions": [{"type": "Ready", "status": "True", "observedGeneration": 1}]},
}
ENVIRONMENT: Manifest = {
    "metadata": {"name": "python", "namespace": "team-a", "uid": "eeee", "generation": 1},
    "spec": {"config": {"type": "cloud"}, "sandbox": {"workspace": {"size": "1Gi"}}},
}
PROVIDER: Manifest = {
    "metadata": {"name": "simulated", "namespace": "team-a", "uid": "pppp"},
    "spec": {"endpoint": "http://model", "default": True, "apiKey": {"secretKeyRef": {"name": "key", "key": "k"}}},
}
CATALOG = Catalog(agent=AGENT, snapshot=snapshot_for(AGENT, 1), environment=ENVIRONMENT, providers=(PROVIDER,))


def session(*events: str, **metadata: Any) -> Manifest:
    held = [{"name": name, "type": "user.message", "content": [{"type": "text", "text": name}]} for name in events]
    return {
        "apiVersion": "managedagents.dev/v1alpha1",
        "kind": "Session",
        "metadata": {
            "name": "repair",
            "namespace": "team-a",
            "uid": UID,
            "generation": 1,
            "resourceVersion": "1",
            "creationTimestamp": "2026-01-02T03:00:00Z",
            **metadata,
        },
        "spec": {"agentRef": {"name": "bot"}, "environmentRef": {"name": "python"}, "events": held},
    }


def summary(**changes: Any) -> Summary:
    value = {
        "id": ids.session_id_for(UID),
        "uid": UID,
        "namespace": "team-a",
        "name": "repair",
        "revision": 1,
        "head": 4,
        "epoch": 1,
        "wanted": False,
        "needs_pod": bool(changes.get("wanted")),
        "lease_pod_uid": None,
        "harness": None,
        "released": False,
        "status": "idle",
        "status_since": "2026-01-02T03:04:00Z",
        "stop_reason": {"type": "end_turn"},
        **changes,
    }
    return Summary.parse(value)


def sandbox_record(state: str = "wanted", pod_name: str = "ma-repair-box") -> dict[str, str]:
    return {"pod_name": pod_name, "state": state, "token_sha256": "0" * 64}


def reading(name: str, **changes: Any) -> PodReading:
    values = {
        "name": name,
        "uid": f"uid-of-{name}",
        "is_deleting": False,
        "has_ended": False,
        "is_running": True,
        "address": "10.0.0.1",
        "problem": None,
        "loss": None,
        "oom_kills": 0,
        **changes,
    }
    return PodReading(**values)


def deployment(uid: str = "dddd") -> Manifest:
    name = names.harness_deployment_name_for("repair", UID)
    return {"metadata": {"name": name, "namespace": "team-a", "uid": uid, "annotations": {}}, "spec": {}}


def observed(**changes: Any) -> Observed:
    values: dict[str, Any] = {
        "session": session("e0", finalizers=[names.FINALIZER]),
        "catalog": CATALOG,
        "summary": None,
        "deployment": None,
        "spare_deployments": (),
        "adoptable": (),
        "deployment_problem": None,
        "harness_pods": (),
        "sandbox_pods": (),
        "claims": (),
        "from_pool": (),
        "is_namespace_ready": True,
        "is_clean": False,
        "memory": Memory(),
        "settings": SessionSettings(),
        **changes,
    }
    return Observed(**values)


def after(seen: Observed, action: Action) -> Observed:
    """Return what would be observed once an action has succeeded and its echo is here."""
    if isinstance(action, ServerAction):
        return _after_server(seen, action)
    match action:
        case SetFinalizer(present=present):
            finalizers = [names.FINALIZER] if present else []
            metadata = {**seen.session["metadata"], "finalizers": finalizers}
            return replace(seen, session={**seen.session, "metadata": metadata})
        case EnsureNamespace():
            return replace(seen, is_namespace_ready=True)
        case CreateChild() | UpdateChild() | DeleteChild():
            return _after_child(seen, action)
        case WriteStatus(status=status):
            written = replace(seen.memory, status_digest=digest_of(status), status_written_at=NOW)
            return replace(seen, session={**seen.session, "status": status}, memory=written)
        case AdoptChild():
            return replace(seen, adoptable=(), from_pool=())
        case Announce():
            return seen


def _after_server(seen: Observed, action: ServerAction) -> Observed:
    memory = seen.memory
    match action:
        case PutSession(digest=digest, events=events, archived=archived):
            known = seen.summary or summary(head=0, epoch=0, wanted=bool(events), stop_reason=None)
            status = "terminated" if archived else known.status
            delivered = known.delivered | {event["name"] for event in events}
            told = replace(known, delivered=delivered, status=status)
            return replace(seen, summary=told, memory=replace(memory, put_digest=digest))
        case DeleteSession():
            return replace(seen, summary=None, memory=replace(memory, is_deleted_at_server=True))
        case ReleaseHarness():
            assert seen.summary is not None
            released = replace(seen.summary, released=True, sandbox=None)
            return replace(seen, summary=released, memory=replace(memory, registered=frozenset()))
        case RegisterPod(pod_uid=uid):
            return replace(seen, memory=replace(memory, registered=memory.registered | {uid}))
        case UnregisterPod(pod_uid=uid):
            return replace(seen, memory=replace(memory, registered=memory.registered - {uid}))
        case ReportSandbox():
            return _after_report(seen, action)


def _after_report(seen: Observed, report: ReportSandbox) -> Observed:
    memory = replace(seen.memory, reported=seen.memory.reported | {report.fingerprint})
    told = seen.summary
    if told is not None and report.state == "gone":
        told = replace(told, sandbox=None)
    return replace(seen, memory=memory, summary=told)


def _after_child(seen: Observed, action: CreateChild | UpdateChild | DeleteChild) -> Observed:
    if isinstance(action, DeleteChild):
        if action.resource == DEPLOYMENTS:
            return replace(seen, deployment=None, harness_pods=())
        if action.resource == PODS:
            return replace(seen, sandbox_pods=tuple(pod for pod in seen.sandbox_pods if pod.name != action.name))
        return replace(seen, claims=tuple(c for c in seen.claims if c["metadata"]["name"] != action.name))
    metadata = {**action.manifest["metadata"], "uid": f"uid-of-{action.manifest['metadata']['name']}"}
    made = {**action.manifest, "metadata": metadata}
    if action.resource == DEPLOYMENTS:
        pod = HarnessPod(reading=reading("harness-pod"), deployment_uid=metadata["uid"])
        return replace(seen, deployment=made, harness_pods=(pod,))
    if action.resource == PODS:
        return replace(seen, sandbox_pods=(*seen.sandbox_pods, read_pod(made, NOW)))
    assert action.resource == CLAIMS
    return replace(seen, claims=(*seen.claims, made))
