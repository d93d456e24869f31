"""A session is changed, archived or deleted through the API: the object first, then at once the log (design §3).

Where the object changed and this server dies before the log follows, the operator's next report brings it: both make
the same config of one generation, so whoever comes second changes nothing.
"""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from managed_agents.contracts.api.agents import spec_value
from managed_agents.contracts.api.casing import camel
from managed_agents.contracts.api.session_configs import spec_config
from managed_agents.contracts.errors import NotFoundError, RejectedError
from managed_agents.eventlog.queries import SessionRecord
from managed_agents.eventlog.store import EventLog
from managed_agents.kube.resources import Manifest
from managed_agents.server.bodies.fields import METADATA_PAIRS_MAX
from managed_agents.server.bodies.sessions import SessionAgentUpdate, SessionUpdate
from managed_agents.server.services.agent_rules import servers_of, tools_of
from managed_agents.server.services.collection import Collection
from managed_agents.server.services.ownership import GITOPS_MANAGERS
from managed_agents.server.services.patches import merge_patch, patched_metadata
from managed_agents.server.services.pending_sessions import PendingSessions
from managed_agents.server.services.session_parts import budget_of, check_agent, require_priced
from managed_agents.server.services.session_view import usage_of
from managed_agents.server.services.sessions import Sessions


@dataclass(slots=True, kw_only=True)
class SessionEditor:
    """Changes sessions. Every call takes the record that the caller was permitted on."""

    log: EventLog
    objects: Collection
    sessions: Sessions
    pending: PendingSessions

    async def record(self, session_id: str) -> SessionRecord:
        """Return a session, of the log or only applied yet. Raises: NotFoundError."""
        try:
            return await self.log.record(session_id)
        except NotFoundError:
            found = self.pending.get(session_id)
            if found is None:
                self.objects.require_synced()
                raise NotFoundError(f"session {session_id} not found") from None
            return found

    async def update(self, record: SessionRecord, body: SessionUpdate) -> SessionRecord:
        """Change what a session says of itself. Raises: RejectedError, NotFoundError, RetryableError."""
        if body.vault_ids is not None:
            text = "vault_ids: the vaults of a session cannot be changed; leave the field out"
            raise RejectedError(text, reason="NotSupported", field="vault_ids")
        agent = _updated_agent(record, body.agent) if body.agent is not None else None
        _check_budget(record, body)

        def decide(spec: Mapping[str, Any]) -> dict[str, Any]:
            return _updated_spec(spec, body, agent)

        return await self.change(record, decide, agent=agent)

    async def change(
        self,
        record: SessionRecord,
        decide: Callable[[Mapping[str, Any]], dict[str, Any]],
        *,
        agent: Mapping[str, Any] | None = None,
    ) -> SessionRecord:
        """Bring the object's spec to what `decide` makes of its newest state, and the log's config with it.

        `agent` is the session's agent after the change, null where it stays.
        """

        def patch(manifest: Manifest) -> Manifest | None:
            wanted = merge_patch(manifest["spec"], decide(manifest["spec"]))
            return {"spec": wanted} if wanted else None

        manifest = await self.objects.change(self._manifest(record), patch)
        await self._follow(record.session.id, manifest, agent)
        return await self.record(record.session.id)

    async def manifest(self, record: SessionRecord) -> Manifest:
        """Return a session's object as it is now. Raises: NotFoundError, RetryableError."""
        return await self.objects.live(self._manifest(record))

    async def archive(self, record: SessionRecord) -> SessionRecord:
        """End a session and keep its history; once more changes nothing. Raises: RejectedError while it is running."""
        _require_rest(record, "archived")
        if record.archived_at is not None:
            return record
        manifest = await self.objects.change(self._manifest(record), _archived)
        session_id = record.session.id
        if await self._follow(session_id, manifest, None):
            await self.log.archive(session_id)
        return await self.record(session_id)

    async def delete(self, record: SessionRecord) -> None:
        """Remove a session with all that belongs to it.

        Raises: RejectedError while it is running, and for one that GitOps would bring back.
        """
        _require_rest(record, "deleted")
        manifest = self._found(record)
        if manifest is not None:
            with contextlib.suppress(NotFoundError):  # gone by the other door
                _require_unsynchronised(await self.objects.live(manifest))
            await self.objects.delete(manifest)
        await self.sessions.delete(record.session.id)

    async def _follow(self, session_id: str, manifest: Manifest, agent: Mapping[str, Any] | None) -> bool:
        """Bring the log's config up to the object; False where the log does not hold the session yet."""
        try:
            config = await self.log.config(session_id)
        except NotFoundError:
            return False
        metadata = manifest["metadata"]
        spoken = spec_config(manifest["spec"], uid=metadata["uid"], created_at=metadata["creationTimestamp"])
        changed = {**config, **spoken, "generation": metadata.get("generation", 1)}
        if agent is not None:
            changed["agent"] = dict(agent)
        await self.sessions.configure(changed)
        return True

    def _found(self, record: SessionRecord) -> Manifest | None:
        return self.objects.by_name(record.session.namespace, record.session.name) or self.objects.find(
            record.session.id
        )

    def _manifest(self, record: SessionRecord) -> Manifest:
        manifest = self._found(record)
        if manifest is None or self.objects.id_of(manifest) != record.session.id:
            self.objects.require_synced()
            raise NotFoundError(f"session {record.session.id} not found")
        return manifest


def _require_rest(record: SessionRecord, what: str) -> None:
    if record.session.shown_status == "running":
        raise RejectedError(
            f"session {record.session.id} is running and cannot be {what}; send user.interrupt and wait until it idles",
            reason="Running",
        )


def _require_unsynchronised(manifest: Manifest) -> None:
    """Refuse to delete what a GitOps controller would make anew, to run once more. Raises: RejectedError."""
    for entry in manifest["metadata"].get("managedFields") or []:
        if entry.get("manager") in GITOPS_MANAGERS and "f:spec" in (entry.get("fieldsV1") or {}):
            text = f'this session is managed by "{entry["manager"]}", which would create it again; delete it in Git'
            raise RejectedError(text, reason="FieldManaged")


def _archived(manifest: Manifest) -> Manifest | None:
    return None if manifest["spec"].get("archived") else {"spec": {"archived": True}}


def _updated_agent(record: SessionRecord, body: SessionAgentUpdate) -> dict[str, Any] | None:
    """Return the session's agent after the change, null for none. Raises: RejectedError."""
    agent = dict(record.config["agent"])
    if "tools" in body.model_fields_set:
        agent["tools"] = tools_of(body.tools or ())
    if "mcp_servers" in body.model_fields_set:
        agent["mcp_servers"] = servers_of(body.mcp_servers or ())
    if agent == record.config["agent"]:
        return None
    if record.session.shown_status != "idle":
        text = "agent: tools and mcp_servers can change only while the session is idle; wait or send user.interrupt"
        raise RejectedError(text, reason="Running", field="agent")
    check_agent(agent)
    return agent


def _check_budget(record: SessionRecord, body: SessionUpdate) -> None:
    """Refuse a budget that the session may not get (API reference §4.5). Raises: RejectedError."""
    if "budget" in body.model_fields_set and record.session.shown_status == "terminated":
        raise RejectedError("budget: the session is terminated; its budget cannot change", field="budget")
    if body.budget is None:
        return
    config = record.config
    if config.get("budget") is None:
        text = "budget: a session created without a budget, or whose budget was removed, cannot get one"
        raise RejectedError(text, field="budget", error_code="budget_create_only")
    require_priced(config["model_provider"], config["agent"]["model"]["id"])
    spent = int((usage_of(record).get("list_cost") or {}).get("amount") or 0)
    if int(body.budget.max_list_cost.amount) <= spent:
        text = f"budget.max_list_cost.amount: must exceed what the session has cost, {spent} cents"
        raise RejectedError(text, field="budget.max_list_cost.amount", error_code="budget_not_raised")


def _updated_spec(spec: Mapping[str, Any], body: SessionUpdate, agent: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the spec after the change; what becomes empty goes."""
    sent, changed = body.model_fields_set, dict(spec)
    if "title" in sent:
        changed["title"] = body.title
    if "metadata" in sent:
        changed["metadata"] = _metadata(spec.get("metadata") or {}, body)
    if "budget" in sent:
        changed["budget"] = None if body.budget is None else budget_of(body.budget)
    if agent is not None:
        given = body.agent.model_fields_set if body.agent is not None else ()
        overrides = {camel(name): spec_value(agent[name]) for name in given}
        changed["agentOverrides"] = {**(spec.get("agentOverrides") or {}), **overrides}
    return {key: value for key, value in changed.items() if value or key not in sent}


def _metadata(stored: Mapping[str, str], body: SessionUpdate) -> dict[str, str]:
    found = patched_metadata(stored, body.metadata)
    if len(found) > METADATA_PAIRS_MAX:
        text = f"metadata: may hold at most {METADATA_PAIRS_MAX} pairs, would hold {len(found)}"
        raise RejectedError(text, field="metadata", error_code="invalid_metadata")
    return found
