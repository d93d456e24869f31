"""Agents of the public API: custom resources with immutable versions (API reference §3.1, §4.1)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from managed_agents.contracts import names
from managed_agents.contracts.api.agents import digest_of, snapshot_for
from managed_agents.contracts.clock import Clock, parse_rfc3339, rfc3339
from managed_agents.contracts.errors import NotFoundError, RejectedError
from managed_agents.kube.resources import Manifest
from managed_agents.server.bodies.agents import AgentCreate, AgentUpdate
from managed_agents.server.services.agent_rules import created_fields, spec_of, spec_patch, updated_fields
from managed_agents.server.services.errors import ApiConflictError
from managed_agents.server.services.objects import Objects
from managed_agents.server.services.paging import Window, page_of
from managed_agents.server.services.query import parse_flag, parse_moment
from managed_agents.server.services.versions import Version

ANNOTATION_ARCHIVED_AT = f"{names.GROUP}/archived-at"
ORIGIN = {f"{names.GROUP}/origin": "api"}
"""Marks what the API created."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agents:
    """The calls on Agents. Manifests come from `Objects`, whose callers have checked who asks."""

    objects: Objects
    clock: Clock

    async def create(self, namespace: str, body: AgentCreate) -> Json:
        """Create an Agent with its first version. Raises: RejectedError, ForbiddenError, RetryableError."""
        spec = spec_of(created_fields(body))
        made = await self.objects.agents.create(namespace, spec, title=body.name, annotations=ORIGIN)
        first = await self.objects.versions.first(made)
        return view(made, first.version, first.snapshot)

    async def retrieve(self, agent: Manifest, number: int | None = None) -> Json:
        """Return an Agent's newest or a former version. Raises: NotFoundError, RetryableError."""
        if number is not None:
            return view(agent, *await self.objects.versions.data(agent, number))
        newest = await self.objects.versions.of(agent)
        return view(newest.agent, newest.version, newest.snapshot)

    async def update(self, agent: Manifest, body: AgentUpdate) -> Json:
        """Change an Agent, which makes a new version unless nothing changes.

        Raises: RejectedError; ApiConflictError when `version` is not the newest, also for a change of nothing.
        """
        async with self.objects.locks.holding(f"agents/{agent['metadata']['uid']}"):  # each change its own version
            return await self._updated(agent, body)

    async def _updated(self, agent: Manifest, body: AgentUpdate) -> Json:
        pinned = await self._pinned(agent, body.version)

        def decide(newest: Manifest) -> Manifest | None:
            current = snapshot_for(newest, 0)
            if pinned is not None and digest_of(current) != pinned:
                raise _outdated(agent, body.version)
            if newest["spec"].get("archived"):
                raise RejectedError(f"{current['id']} is archived and cannot change; create another agent")
            patch = spec_patch(newest["spec"], current, updated_fields(current, body))
            return {"spec": patch} if patch else None

        return await self.retrieve(await self.objects.agents.change(agent, decide))

    async def archive(self, agent: Manifest) -> Json:
        """Archive an Agent, for ever; again is no error."""
        stamp = {"annotations": {ANNOTATION_ARCHIVED_AT: rfc3339(self.clock.now())}}

        def decide(newest: Manifest) -> Manifest | None:
            return None if newest["spec"].get("archived") else {"metadata": stamp, "spec": {"archived": True}}

        return await self.retrieve(await self.objects.agents.change(agent, decide))

    async def page(
        self, namespace: str, query: Mapping[str, str], window: Window, secret: bytes
    ) -> tuple[list[Json], str | None]:
        """Return a page of a namespace's Agents, newest first. Raises: RejectedError, RetryableError."""
        wanted = _filter(query)
        found = [agent for agent in self.objects.agents.in_namespace(namespace) if wanted(agent)]
        shown, cursor = page_of(found, created_key, window, secret)
        return [item for agent in shown if (item := await self._listed(agent)) is not None], cursor

    async def versions(self, agent: Manifest, window: Window, secret: bytes) -> tuple[list[Json], str | None]:
        """Return a page of an Agent's versions, newest first. Raises: RetryableError."""
        await self.objects.versions.of(agent)
        found = await self.objects.versions.all(agent)
        shown, cursor = page_of(found, lambda pair: f"{pair[0].number:012d}", window, secret)
        return [view(agent, version, snapshot) for version, snapshot in shown], cursor

    async def _pinned(self, agent: Manifest, number: int | None) -> str | None:
        """Return the digest of the version that the caller means to change, null for whatever is newest.

        What was applied by YAML and has no version yet gets one before it changes.
        """
        if number is None:
            await self.objects.versions.of(agent)
            return None
        newest = await self.objects.versions.of(await self.objects.agents.live(agent))
        if newest.version.number != number:
            raise _outdated(agent, number, newest.version.number)
        return digest_of(newest.snapshot)

    async def _listed(self, agent: Manifest) -> Json | None:
        try:
            return await self.retrieve(agent)
        except NotFoundError:  # deleted meanwhile
            return None


def view(agent: Manifest, version: Version, snapshot: Mapping[str, Any]) -> Json:
    """Render an Agent at a version, with every field of the API."""
    return {
        **snapshot,
        "version": version.number,
        "created_at": agent["metadata"]["creationTimestamp"],
        "updated_at": version.created_at,
        "archived_at": archived_at(agent),
    }


def archived_at(manifest: Manifest) -> str | None:
    """Return when an object was archived, null while it is not.

    The API notes the moment; of what was archived by YAML only the time of the spec's last change is known.
    """
    if not manifest["spec"].get("archived"):
        return None
    noted = (manifest["metadata"].get("annotations") or {}).get(ANNOTATION_ARCHIVED_AT)
    return str(noted or updated_at(manifest))


def updated_at(manifest: Manifest) -> str:
    """Return when an object's spec was last written, by what Kubernetes noted of its managers.

    In memory are the entries that own something of the spec alone, and no longer what (`objects.shrunk`).
    """
    metadata = manifest["metadata"]
    written = [
        str(entry["time"])
        for entry in metadata.get("managedFields") or ()
        if entry.get("time") and "f:spec" in entry.get("fieldsV1", ("f:spec",))
    ]
    return max([*written, str(metadata["creationTimestamp"])])


def created_key(manifest: Manifest) -> str:
    """Return what lists are sorted by: creation, then the UID, for times have whole seconds."""
    metadata = manifest["metadata"]
    return f"{metadata['creationTimestamp']}/{metadata['uid']}"


def _filter(query: Mapping[str, str]) -> "_Filter":
    return _Filter(
        archived=parse_flag("include_archived", query.get("include_archived")),
        since=parse_moment("created_at[gte]", query.get("created_at[gte]")),
        until=parse_moment("created_at[lte]", query.get("created_at[lte]")),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Filter:
    archived: bool
    since: datetime | None
    until: datetime | None

    def __call__(self, manifest: Manifest) -> bool:
        if manifest["spec"].get("archived") and not self.archived:
            return False
        created = parse_rfc3339(manifest["metadata"]["creationTimestamp"])
        return (self.since is None or created >= self.since) and (self.until is None or created <= self.until)


def _outdated(agent: Manifest, sent: int | None, newest: int | None = None) -> ApiConflictError:
    name = agent["metadata"]["name"]
    known = f"; its version is {newest}" if newest is not None else ""
    return ApiConflictError(f"version: Agent {name!r} is no longer at version {sent}{known}; read it anew")
