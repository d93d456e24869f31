"""Environments of the public API (API reference §3.2, §4.4)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from managed_agents.contracts.api.environments import environment_id_of, environment_name_of
from managed_agents.contracts.clock import Clock, rfc3339
from managed_agents.contracts.errors import RejectedError
from managed_agents.kube.resources import Manifest
from managed_agents.server.bodies.environments import EnvironmentCreate, EnvironmentUpdate
from managed_agents.server.services.agents import (
    ANNOTATION_ARCHIVED_AT,
    ORIGIN,
    archived_at,
    created_key,
    updated_at,
)
from managed_agents.server.services.environment_rules import (
    created_fields,
    current_fields,
    spec_of,
    spec_patch,
    updated_fields,
)
from managed_agents.server.services.errors import ApiConflictError
from managed_agents.server.services.objects import Objects
from managed_agents.server.services.paging import Window, page_of
from managed_agents.server.services.query import parse_flag

Json = dict[str, Any]

_FINISHED = frozenset({"Terminated"})
"""Phases of Sessions that need their Environment no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environments:
    """The calls on Environments. Manifests come from `Objects`, whose callers have checked who asks."""

    objects: Objects
    clock: Clock

    async def create(self, namespace: str, body: EnvironmentCreate) -> Json:
        """Create an Environment. Raises: RejectedError, ApiConflictError for a name in use, ForbiddenError."""
        fields = created_fields(body)
        async with self.objects.locks.holding(_name_key(namespace, body.name)):
            self._require_free(namespace, body.name)
            spec = spec_of(fields)
            made = await self.objects.environments.create(namespace, spec, title=body.name, annotations=ORIGIN)
        return view(made)

    async def update(self, environment: Manifest, body: EnvironmentUpdate) -> Json:
        """Change an Environment; what runs keeps its sandbox. Raises: RejectedError, ApiConflictError."""
        namespace, uid = environment["metadata"]["namespace"], environment["metadata"]["uid"]

        def decide(newest: Manifest) -> Manifest | None:
            if newest["spec"].get("archived"):
                raise RejectedError(
                    f"{environment_id_of(newest)} is archived and cannot change; create another environment",
                    error_code="environment_archived",
                )
            current = current_fields(newest)
            patch = spec_patch(newest["spec"], current, updated_fields(current, body))
            return {"spec": patch} if patch else None

        if body.name is None:
            return view(await self.objects.environments.change(environment, decide))
        async with self.objects.locks.holding(_name_key(namespace, body.name)):
            self._require_free(namespace, body.name, but=uid)
            return view(await self.objects.environments.change(environment, decide))

    async def archive(self, environment: Manifest) -> Json:
        """Archive an Environment, for ever: sessions go on, new ones are refused. Again is no error."""
        stamp = {"annotations": {ANNOTATION_ARCHIVED_AT: rfc3339(self.clock.now())}}

        def decide(newest: Manifest) -> Manifest | None:
            return None if newest["spec"].get("archived") else {"metadata": stamp, "spec": {"archived": True}}

        return view(await self.objects.environments.change(environment, decide))

    async def delete(self, environment: Manifest) -> Json:
        """Delete an Environment that no living session uses. Raises: RejectedError naming how many do."""
        users = self._users(environment)
        if users:
            raise RejectedError(
                f"{environment_id_of(environment)} is used by {users} session{'s' if users > 1 else ''}; archive or "
                "delete them first, or archive the environment, which leaves them running"
            )
        await self.objects.environments.delete(environment)
        return {"id": environment_id_of(environment), "type": "environment_deleted"}

    def page(
        self, namespace: str, query: Mapping[str, str], window: Window, secret: bytes
    ) -> tuple[list[Json], str | None]:
        """Return a page of a namespace's Environments, newest first. Raises: RejectedError, RetryableError."""
        archived = parse_flag("include_archived", query.get("include_archived"))
        known = self.objects.environments.in_namespace(namespace)
        found = [item for item in known if archived or not item["spec"].get("archived")]
        shown, cursor = page_of(found, created_key, window, secret)
        return [view(item) for item in shown], cursor

    def _require_free(self, namespace: str, name: str, *, but: str | None = None) -> None:
        for other in self.objects.environments.in_namespace(namespace):
            if environment_name_of(other) != name or other["spec"].get("archived"):
                continue
            if other["metadata"]["uid"] != but:
                text = f"name: {environment_id_of(other)} is named {name!r} already; choose another name"
                raise ApiConflictError(text)

    def _users(self, environment: Manifest) -> int:
        name = environment["metadata"]["name"]
        sessions = self.objects.sessions.in_namespace(environment["metadata"]["namespace"])
        return sum(_needs(session, name) for session in sessions)


def _needs(session: Manifest, environment_name: str) -> bool:
    spec = session["spec"]
    if spec["environmentRef"]["name"] != environment_name or spec.get("archived"):
        return False
    return (session.get("status") or {}).get("phase") not in _FINISHED


def view(environment: Manifest) -> Json:
    """Render an Environment with every field of the API."""
    return {
        "id": environment_id_of(environment),
        "type": "environment",
        **current_fields(environment),
        "scope": "organization",
        "created_at": environment["metadata"]["creationTimestamp"],
        "updated_at": updated_at(environment),
        "archived_at": archived_at(environment),
    }


def _name_key(namespace: str, name: str) -> str:
    return f"environments/{namespace}/{name}"
