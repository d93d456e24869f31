"""Sessions that exist as objects and not in the log yet: just applied, or refused with a condition."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from managed_agents.contracts.api import conditions
from managed_agents.contracts.api.agents import snapshot_for
from managed_agents.contracts.api.environments import environment_config
from managed_agents.contracts.api.session_configs import session_config
from managed_agents.contracts.api.session_resources import SUPPORTED
from managed_agents.contracts.clock import parse_rfc3339, rfc3339
from managed_agents.contracts.errors import ManagedAgentsError, RejectedError, RetryableError
from managed_agents.eventlog.projection import Projection
from managed_agents.eventlog.queries import SessionQuery, SessionRecord
from managed_agents.eventlog.records import Change, Session
from managed_agents.kube.resources import Manifest
from managed_agents.server.services.objects import Objects


class PendingSessions:
    """Follows objects and log, and knows what is only in the former."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._logged: set[str] = set()
        self._pending: defaultdict[str, dict[str, Manifest]] = defaultdict(dict)
        """Manifests by session id, by namespace."""
        objects.sessions.reflector.listen(self._on_object)
        for manifest in objects.sessions.reflector:
            self._on_object(None, manifest)

    def known(self, session_ids: Iterable[str]) -> None:
        """Take in which sessions the log holds at the start."""
        for session_id in session_ids:
            self._note(session_id)

    def on_change(self, change: Change) -> None:
        """Take a change of the log."""
        if change.session is not None:
            self._note(change.session_id)

    def get(self, session_id: str) -> SessionRecord | None:
        """Return a session that is not in the log."""
        manifest = self._objects.sessions.find(session_id)
        if manifest is None or session_id not in self._pending.get(manifest["metadata"]["namespace"], {}):
            return None
        return self._record(manifest)

    def refusal(self, session_id: str) -> ManagedAgentsError:
        """Return why a session takes no events yet: the condition that its user can end, else that it will soon."""
        manifest = self._objects.sessions.find(session_id) or {}
        for condition in (manifest.get("status") or {}).get("conditions") or []:
            if condition["type"] == conditions.READY and condition["status"] == "False":
                text = f"session {session_id} is not accepted: {condition.get('message')}"
                return RejectedError(text, reason=condition["reason"])
        return RetryableError(f"session {session_id} was applied just now and takes events in a moment; try again")

    def find(self, query: SessionQuery) -> list[SessionRecord]:
        """Return those that a list wants, in its order."""
        records = [self._record(manifest) for manifest in self._pending.get(query.namespace, {}).values()]
        wanted = [record for record in records if _matches(record, query)]
        return sorted(wanted, key=lambda record: record.place, reverse=query.backwards)[: query.limit]

    def _note(self, session_id: str) -> None:
        if session_id in self._logged:
            return
        self._logged.add(session_id)
        for pending in self._pending.values():
            pending.pop(session_id, None)

    def _on_object(self, before: Manifest | None, after: Manifest | None) -> None:
        if before is not None:
            self._pending[before["metadata"]["namespace"]].pop(self._objects.sessions.id_of(before), None)
        if after is not None and not after["metadata"].get("deletionTimestamp"):
            session_id = self._objects.sessions.id_of(after)
            if session_id not in self._logged:
                self._pending[after["metadata"]["namespace"]][session_id] = after
        if after is None and before is not None:
            self._logged.discard(self._objects.sessions.id_of(before))

    def _record(self, manifest: Manifest) -> SessionRecord:
        metadata, session_id = manifest["metadata"], self._objects.sessions.id_of(manifest)
        created_at = rfc3339(parse_rfc3339(metadata["creationTimestamp"]))
        is_archived = bool(manifest["spec"].get("archived"))
        projection = Projection(status_since=created_at, last_at=created_at)
        if is_archived:
            projection = Projection(status="terminated", status_since=created_at, last_at=created_at)
        session = Session(
            id=session_id,
            uid=metadata["uid"],
            namespace=metadata["namespace"],
            name=metadata["name"],
            created_at=created_at,
            epoch=0,
            released=False,
            delivered=(),
            rejected=(),
            projection=projection,
        )
        return SessionRecord(
            session=session,
            config=self._config(manifest, session_id),
            created_at=created_at,
            updated_at=created_at,
            archived_at=created_at if is_archived else None,
        )

    def _config(self, manifest: Manifest, session_id: str) -> dict[str, Any]:
        spec, namespace = manifest["spec"], manifest["metadata"]["namespace"]
        resources = [entry for entry in spec.get("resources") or [] if entry["type"] in SUPPORTED]
        environment = self._objects.environments.by_name(namespace, spec["environmentRef"]["name"])
        return session_config(
            {**manifest, "spec": {**spec, "resources": resources}},
            session_id=session_id,
            snapshot=self._snapshot(namespace, spec["agentRef"]),
            environment={"id": ""} if environment is None else environment_config(environment),
            model_provider={},
        )

    def _snapshot(self, namespace: str, reference: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what is known of an agent that is not pinned yet, or does not exist."""
        agent = self._objects.agents.by_name(namespace, reference["name"])
        if agent is None:
            empty = {"id": "", "effort": None, "inference_geo": None, "speed": "standard"}
            return {"type": "agent", "id": "", "version": 0, "name": reference["name"], "model": empty}
        newest = (agent.get("status") or {}).get("version") or 1
        return snapshot_for(agent, int(reference.get("version") or newest))


def _matches(record: SessionRecord, query: SessionQuery) -> bool:
    agent = record.config["agent"]
    beyond = query.beyond is None or (record.place < query.beyond if query.backwards else record.place > query.beyond)
    return (
        beyond
        and all(_compares(record.created_at, comparison, moment) for comparison, moment in query.created)
        and query.agent_id in (None, agent["id"])
        and query.agent_version in (None, agent["version"])
        and (not query.statuses or record.session.shown_status in query.statuses)
        and (query.include_archived or record.archived_at is None)
    )


def _compares(value: str, comparison: str, moment: str) -> bool:
    match comparison:
        case ">":
            return value > moment
        case ">=":
            return value >= moment
        case "<":
            return value < moment
        case _:
            return value <= moment
