"""What becomes of an intent: bound to the object that appeared, or dropped where none will (design §3, "Doors").

A crash at any point leaves one session or none: before the object, the sweep finds nothing and drops the intent;
after it, whoever comes first binds the two, this server's request, its sweep, or the operator's report.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from datetime import datetime, timedelta

import structlog

from managed_agents.contracts.api.session_configs import ANNOTATION_INTENT
from managed_agents.contracts.api.session_resources import resource_configs
from managed_agents.contracts.clock import Clock, parse_rfc3339
from managed_agents.contracts.errors import ConflictError, ManagedAgentsError, NotFoundError, RejectedError
from managed_agents.contracts.ids import SessionId
from managed_agents.eventlog.intents import Identity, Intent
from managed_agents.eventlog.records import Session
from managed_agents.eventlog.store import Admit, EventLog
from managed_agents.kube.resources import Manifest
from managed_agents.server.services.client_rules import admit_for
from managed_agents.server.services.collection import Collection
from managed_agents.server.services.keyed_locks import KeyedLocks
from managed_agents.server.services.refusals import translated
from managed_agents.server.services.repository_tokens import RepositoryTokens, are_kept_by
from managed_agents.server.services.session_resources import SessionResources

SWEEP_SECONDS = 5.0
"""How long a crash may delay a session whose object was made already."""

GRACE = timedelta(seconds=120)
"""The kube-apiserver ends a request after 60 s at most: later no object appears any more."""

_log = structlog.get_logger(__name__)


class Intents:
    """The sessions that the public API is creating."""

    def __init__(self, log: EventLog, objects: Collection, resources: SessionResources, clock: Clock) -> None:
        self._log = log
        self._objects = objects
        self._resources = resources
        self._clock = clock
        self._locks = KeyedLocks()
        self._in_flight: dict[str, str | None] = {}
        """Session ids by key, null while the key is not bound."""

    @contextlib.contextmanager
    def in_flight(self, key: str) -> Iterator[None]:
        """Keep the sweep away from an intent whose request is still at work."""
        self._in_flight[key] = None
        try:
            yield
        finally:
            del self._in_flight[key]

    def bound(self, key: str) -> str | None:
        """Return the session of an intent in flight, also when the operator's report bound it."""
        return self._in_flight.get(key)

    async def bind(self, key: str, identity: Identity, namespace: str, name: str) -> Session | None:
        """Make the session of an intent; null where there is none to bind, as it was bound already.

        Raises: ConflictError for one that was abandoned, or whose session is gone; RejectedError for an object that
        claims an intent made for another, or for a file that is gone.
        """
        async with self._locks.holding(key):
            intent = await self._log.intent(key)
            if intent is None:
                return None
            if (intent.namespace, intent.name) != (namespace, name):
                raise RejectedError(f"annotation {ANNOTATION_INTENT}: belongs to another object; remove it")
            entries = resource_configs(identity.uid, intent.config.get("resources") or [], intent.created_at)
            place = {"id": identity.id, "namespace": namespace, "resources": entries}
            resources = (await self._resources.resolved(place, None))["resources"]
            session = await self._log.bind_intent(key, identity, {"resources": resources}, _admit)
            await self._adopt_tokens(intent, identity)
            if key in self._in_flight:
                self._in_flight[key] = identity.id
        return session

    async def settle(self, request: bytes) -> None:
        """Decide what a request began and a crash cut off: bound now, or given up for good. Raises: RetryableError."""
        for intent in await self._log.intents():
            if intent.reply is not None and intent.reply.key == request and intent.key not in self._in_flight:
                await self._decide(intent)

    async def _decide(self, intent: Intent) -> None:
        with translated():
            manifest = self._annotated(await self._live(intent), intent)
        if manifest is None:
            await self._log.abandon_intent(intent.key)
        elif intent.state == "open":
            await self._late(intent, manifest)

    async def run(self) -> None:
        """Sweep from now on, until cancelled."""
        await self._objects.reflector.synced.wait()
        while True:
            try:
                await self.sweep()
            except ManagedAgentsError as failure:
                _log.warning("intents_left", reason=failure.message)
            await asyncio.sleep(SWEEP_SECONDS)

    async def sweep(self) -> None:
        """Bind what has its object, drop what has none. Raises: RetryableError, and the next sweep goes on."""
        for intent in await self._log.intents():
            if intent.key not in self._in_flight:
                await self._settle(intent)

    async def _settle(self, intent: Intent) -> None:
        manifest = self._annotated(self._objects.by_name(intent.namespace, intent.name), intent)
        is_old = self._clock.now() - self._created(intent) > GRACE
        if manifest is None and is_old:
            manifest = self._annotated(await self._live(intent), intent)
        if manifest is None:
            if is_old:
                await self._purge_tokens(intent)
                await self._log.drop_intent(intent.key)
                _log.info("intent_dropped", namespace=intent.namespace, session=intent.name)
            return
        if intent.state == "abandoned":
            await self._objects.delete(manifest)
            await self._log.drop_intent(intent.key)
            return
        await self._late(intent, manifest)

    async def _late(self, intent: Intent, manifest: Manifest) -> None:
        try:
            await self.bind(intent.key, identity_of(self._objects, manifest), intent.namespace, intent.name)
            _log.info("intent_bound", namespace=intent.namespace, session=intent.name)
        except ConflictError:  # the session was deleted meanwhile
            await self._log.drop_intent(intent.key)
        except RejectedError as refusal:
            _log.warning("intent_refused", namespace=intent.namespace, session=intent.name, reason=refusal.message)
            await self._log.abandon_intent(intent.key)

    async def _adopt_tokens(self, intent: Intent, identity: Identity) -> None:
        """Let the tokens that came with a session go with it; where that fails, its deletion removes them."""
        if are_kept_by(intent.name, intent.config.get("resources") or []):
            tokens = RepositoryTokens(kube=self._objects.kube)
            with contextlib.suppress(ManagedAgentsError):
                await tokens.adopt(intent.namespace, intent.name, identity.uid)

    async def _purge_tokens(self, intent: Intent) -> None:
        """Remove the tokens of a session that never came to be. Raises: RetryableError, ForbiddenError."""
        if are_kept_by(intent.name, intent.config.get("resources") or []):
            await RepositoryTokens(kube=self._objects.kube).purge(intent.namespace, intent.name)

    async def _live(self, intent: Intent) -> Manifest | None:
        try:
            return await self._objects.kube.get(self._objects.resource, intent.namespace, intent.name)
        except NotFoundError:
            return None

    def _annotated(self, manifest: Manifest | None, intent: Intent) -> Manifest | None:
        return manifest if manifest is not None and intent_key_of(manifest) == intent.key else None

    def _created(self, intent: Intent) -> datetime:
        return parse_rfc3339(intent.created_at)


def intent_key_of(manifest: Manifest) -> str | None:
    """Return the intent that an object was created for."""
    key: str | None = (manifest["metadata"].get("annotations") or {}).get(ANNOTATION_INTENT)
    return key


def identity_of(objects: Collection, manifest: Manifest) -> Identity:
    """Return what a created object tells."""
    metadata = manifest["metadata"]
    return Identity(id=objects.id_of(manifest), uid=metadata["uid"], generation=int(metadata.get("generation") or 1))


def _admit(session_id: str, intent: Intent) -> Admit:
    paths = [f"initial_events.{index}" for index in range(len(intent.events))]
    return admit_for(SessionId(session_id), intent.events, paths)
