"""Files of a session that exists: added and taken away in its object, so that both doors see them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from managed_agents.contracts.api.session_resources import resource_configs
from managed_agents.contracts.errors import NotFoundError, RejectedError
from managed_agents.eventlog.queries import SessionRecord
from managed_agents.server.bodies.sessions import ResourceAdd
from managed_agents.server.services.session_parts import check_resources, resource_of
from managed_agents.server.services.session_references import SessionReferences
from managed_agents.server.services.session_update import SessionEditor


@dataclass(slots=True, kw_only=True)
class SessionFiles:
    """Adds and removes file resources."""

    editor: SessionEditor
    references: SessionReferences

    async def add(self, record: SessionRecord, body: ResourceAdd) -> Mapping[str, Any]:
        """Give a session a file; returns the resource. Raises: RejectedError, NotFoundError, RetryableError."""
        if record.session.shown_status == "terminated":
            raise RejectedError(f"session {record.session.id} is terminated; it takes no more resources")
        entry = resource_of(body, "")
        await self.references.require_files(record.session.namespace, [entry], "file_id")
        before = {resource["id"] for resource in record.config.get("resources") or []}

        def decide(spec: Mapping[str, Any]) -> dict[str, Any]:
            resources = [*(spec.get("resources") or []), entry]
            _check(resources)
            return {**spec, "resources": resources}

        changed = await self.editor.change(record, decide)
        added = [resource for resource in changed.config["resources"] if resource["id"] not in before]
        wanted = resource_configs(record.session.uid, [entry], record.created_at)[0]["id"]
        for resource in added:
            if resource["id"] == wanted:
                found: Mapping[str, Any] = resource
                return found
        raise NotFoundError(f"resource {wanted} was taken away again from session {record.session.id}")

    async def remove(self, record: SessionRecord, entry: Mapping[str, Any]) -> None:
        """Take a file away from a session. Raises: NotFoundError, RetryableError."""
        uid, created_at = record.session.uid, record.created_at

        def decide(spec: Mapping[str, Any]) -> dict[str, Any]:
            kept = [
                resource
                for resource in spec.get("resources") or []
                if resource["type"] != "file" or resource_configs(uid, [resource], created_at)[0]["id"] != entry["id"]
            ]
            return {**{key: value for key, value in spec.items() if key != "resources"}, "resources": kept}

        await self.editor.change(record, decide)


def _check(resources: list[Mapping[str, Any]]) -> None:
    try:
        check_resources(resources)
    except RejectedError as refusal:
        if refusal.field == "resources":
            raise
        text = "mount_path: another resource of the session is there already; choose another"
        raise RejectedError(text, field="mount_path") from None
