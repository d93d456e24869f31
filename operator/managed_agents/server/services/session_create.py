"""A session is created: intent, object, binding, in this order, each durable before the next (design §3, "Doors")."""

import contextlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from managed_agents.contracts import names
from managed_agents.contracts.api.session_configs import (
    ANNOTATION_INTENT,
    ANNOTATION_ORIGIN,
    ORIGIN_API,
    session_config,
    with_overrides,
)
from managed_agents.contracts.clock import Clock, rfc3339
from managed_agents.contracts.errors import ManagedAgentsError, NotFoundError, RejectedError, RetryableError
from managed_agents.eventlog.intents import Intent
from managed_agents.eventlog.queries import SessionRecord
from managed_agents.eventlog.replies import ReplyKey
from managed_agents.eventlog.store import EventLog
from managed_agents.kube.errors import AlreadyExistsError
from managed_agents.kube.resources import Manifest
from managed_agents.server.bodies.sessions import SessionCreate
from managed_agents.server.services.collection import API_MANAGER, NAME_ATTEMPTS_MAX, Collection, name_for
from managed_agents.server.services.intents import Intents, identity_of, intent_key_of
from managed_agents.server.services.refusals import translated
from managed_agents.server.services.repository_tokens import (
    RepositoryTokens,
    Tokens,
    tokens_of,
    with_references,
)
from managed_agents.server.services.session_parts import (
    budget_of,
    check_agent,
    initial_events_of,
    initial_paths,
    overrides_of,
    require_priced,
    resources_of,
)
from managed_agents.server.services.session_references import SessionReferences

_UNKNOWN = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A session that can be created: its spec, and all of its config that does not depend on the object."""

    namespace: str
    title: str
    spec: Mapping[str, Any]
    config: Mapping[str, Any]
    events: tuple[Mapping[str, Any], ...]
    sender: Mapping[str, Any]
    created_at: str
    reply: ReplyKey | None
    tokens: Tokens
    """Of its repositories; never part of spec or config."""

    def spec_for(self, name: str) -> dict[str, Any]:
        """Return the spec of an object of this name, which its references to tokens depend on."""
        if not self.tokens:
            return dict(self.spec)
        return {**self.spec, "resources": with_references(self.spec["resources"], self.tokens, name)}


@dataclass(slots=True, kw_only=True)
class SessionCreator:
    """Creates sessions. `new_key` makes what nobody can guess."""

    log: EventLog
    objects: Collection
    references: SessionReferences
    intents: Intents
    clock: Clock
    new_key: Callable[[], str] = field(default=lambda: secrets.token_hex(16))

    async def create(
        self, namespace: str, body: SessionCreate, sender: Mapping[str, Any], reply: ReplyKey | None = None
    ) -> SessionRecord:
        """Create a session, of which a repeat of the request `reply` learns whatever happens from now on.

        Raises: RejectedError, NotFoundError, ForbiddenError (quota), RetryableError. After an error there is no
        session: an object whose creation became known too late is removed.
        """
        draft = await self._draft(namespace, body, sender, reply)
        for _ in range(NAME_ATTEMPTS_MAX):
            intent = self._intent(draft)
            with self.intents.in_flight(intent.key), contextlib.suppress(AlreadyExistsError):
                await self.log.add_intent(intent)
                return await self._sealed(intent, draft)
        raise RetryableError(f"no free name was found for session {draft.title!r}; try again")

    async def _draft(
        self, namespace: str, body: SessionCreate, sender: Mapping[str, Any], reply: ReplyKey | None
    ) -> Draft:
        events = initial_events_of(body.initial_events or ())
        agent = await self.references.agent(namespace, body.agent)
        environment_name, environment = self.references.environment(namespace, body.environment_id)
        overrides = overrides_of(body.agent)
        shown = with_overrides(agent.snapshot, overrides)
        check_agent(shown)
        provider = self.references.model_provider(namespace, shown["model"]["id"])
        if body.budget is not None:
            require_priced(provider, shown["model"]["id"])
        vaults = self.references.vaults(namespace, body.vault_ids or ())
        spec = _spec_of(body, overrides) | ({"vaultRefs": [{"name": name} for name, _ in vaults]} if vaults else {})
        await self.references.require_files(namespace, spec.get("resources") or [])
        await self.references.require_event_files(namespace, events, initial_paths(events))
        version = int(agent.snapshot["version"])
        spec |= {"agentRef": {"name": agent.name, "version": version}, "environmentRef": {"name": environment_name}}
        created_at = rfc3339(self.clock.now())
        metadata = {"uid": _UNKNOWN, "namespace": namespace, "name": "", "creationTimestamp": created_at}
        config = session_config(
            {"metadata": metadata, "spec": spec},
            session_id="",
            snapshot=agent.snapshot,
            environment=environment,
            model_provider=provider,
            vault_ids=[vault_id for _, vault_id in vaults],
        )
        return Draft(
            namespace=namespace,
            title=body.title or shown["name"],
            spec=spec,
            config={**config, "resources": []},
            events=tuple(events),
            sender=sender,
            created_at=created_at,
            reply=reply,
            tokens=tokens_of(body.resources or (), spec.get("resources") or []),
        )

    def _intent(self, draft: Draft) -> Intent:
        name = name_for(draft.title, self.objects.resource.kind, self.objects.suffix())
        resources = draft.spec_for(name).get("resources") or []
        return Intent(
            key=self.new_key(),
            namespace=draft.namespace,
            name=name,
            created_at=draft.created_at,
            config={**draft.config, "resources": resources},
            events=draft.events,
            sender=draft.sender,
            reply=draft.reply,
        )

    async def _sealed(self, intent: Intent, draft: Draft) -> SessionRecord:
        """Store the tokens of the session's repositories, then make it: whatever it runs first finds them."""
        if not draft.tokens:
            return await self._made(intent, draft.spec)
        secrets = RepositoryTokens(kube=self.objects.kube)
        try:
            await secrets.write(intent.namespace, intent.name, draft.tokens)
        except ManagedAgentsError:
            await self.log.drop_intent(intent.key)
            raise
        try:
            return await self._made(intent, draft.spec_for(intent.name))
        except AlreadyExistsError:  # the name, and so its Secret, is another session's
            raise
        except ManagedAgentsError:
            with contextlib.suppress(ManagedAgentsError):
                await secrets.purge(intent.namespace, intent.name)
            raise

    async def _made(self, intent: Intent, spec: Mapping[str, Any]) -> SessionRecord:
        try:
            manifest = await self._object(intent, spec)
        except RetryableError:
            session_id = self.intents.bound(intent.key)
            if session_id is None:
                raise
            return await self.log.record(session_id)  # the operator has seen what we could not look up
        return await self._bound(intent, manifest)

    async def _object(self, intent: Intent, spec: Mapping[str, Any]) -> Manifest:
        """Create the object; where its fate is unknown, look. Raises: AlreadyExistsError for a name that is taken."""
        resource, namespace = self.objects.resource, intent.namespace
        try:
            with translated():
                return await self.objects.kube.create(resource, namespace, self._manifest(intent, spec))
        except AlreadyExistsError:
            found = await self._look(intent)  # a repeat below HTTP may have met its own first attempt
            if found is not None:
                return found
            await self.log.drop_intent(intent.key)
            raise
        except RetryableError:
            found = await self._look(intent)
            if found is not None:
                return found
            await self.log.abandon_intent(intent.key)
            raise
        except ManagedAgentsError:
            await self.log.drop_intent(intent.key)
            raise

    async def _look(self, intent: Intent) -> Manifest | None:
        try:
            found = await self.objects.kube.get(self.objects.resource, intent.namespace, intent.name)
        except (NotFoundError, RetryableError, RejectedError):
            return None
        return found if intent_key_of(found) == intent.key else None

    async def _bound(self, intent: Intent, manifest: Manifest) -> SessionRecord:
        """Bind the two and return the session; where that fails, take the object away again."""
        identity = identity_of(self.objects, manifest)
        try:
            await self.intents.bind(intent.key, identity, intent.namespace, intent.name)
        except ManagedAgentsError:
            with contextlib.suppress(ManagedAgentsError):
                await self.log.abandon_intent(intent.key)
            with contextlib.suppress(ManagedAgentsError):
                await self.objects.delete(manifest)
            raise
        self.objects.reflector.seen(manifest)
        return await self.log.record(identity.id)

    def _manifest(self, intent: Intent, spec: Mapping[str, Any]) -> Manifest:
        return {
            "apiVersion": self.objects.resource.api_version,
            "kind": self.objects.resource.kind,
            "metadata": {
                "name": intent.name,
                "namespace": intent.namespace,
                "labels": {names.LABEL_MANAGED_BY: API_MANAGER},
                "annotations": {ANNOTATION_INTENT: intent.key, ANNOTATION_ORIGIN: ORIGIN_API},
            },
            "spec": dict(spec),
        }


def _spec_of(body: SessionCreate, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of the spec follows from the body alone; what is empty is absent."""
    found: dict[str, Any] = {
        "title": body.title,
        "metadata": dict(body.metadata or {}),
        "agentOverrides": dict(overrides),
        "resources": resources_of(body.resources or ()),
        "budget": None if body.budget is None else budget_of(body.budget),
    }
    return {key: value for key, value in found.items() if value}
