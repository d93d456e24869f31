"""Sessions as both doors see them: one set of rules, one log."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from managed_agents.contracts.clock import Clock
from managed_agents.contracts.errors import ConflictError, NotFoundError, RejectedError
from managed_agents.contracts.events import types
from managed_agents.contracts.ids import SessionId
from managed_agents.eventlog.errors import KeyReusedError
from managed_agents.eventlog.records import Appended, Config, LoggedEvent, Rejection, Sandbox, Session
from managed_agents.eventlog.replies import ReplyKey
from managed_agents.eventlog.store import Append, EventLog
from managed_agents.server.services.client_events import parse_event
from managed_agents.server.services.client_rules import admit_for, check_config, needs_config
from managed_agents.server.services.errors import ForbiddenError
from managed_agents.server.services.feed import ChangeFeed
from managed_agents.server.services.keyed_locks import KeyedLocks
from managed_agents.server.services.leases import Leases
from managed_agents.server.services.repository_tokens import RepositoryTokens
from managed_agents.server.services.sandbox_pools import SandboxPools
from managed_agents.server.services.session_resources import SessionResources
from managed_agents.server.services.summary import summary_of

SPEC_KEY = "spec/"
API_KEY = "api/"

_REPORTED = ("agent", "title", "metadata", "budget")
"""The keys of a config whose change the API shows as `session.updated` (API reference §5.3)."""


class Sessions:
    """What operator, harness and clients may do to sessions."""

    def __init__(
        self,
        log: EventLog,
        clock: Clock,
        feed: ChangeFeed,
        leases: Leases,
        resources: SessionResources,
        pools: SandboxPools,
        tokens: RepositoryTokens,
    ) -> None:
        self._log = log
        self._pools = pools
        self._tokens = tokens
        self._resources = resources
        self._locks = KeyedLocks()
        self._clock = clock
        self._feed = feed
        self._leases = leases

    async def summary(self, session_id: str) -> dict[str, Any]:
        """Return a session's summary. Raises: NotFoundError."""
        # numbered before it is read: it may hold more than its revision says, never less, or a watcher that has seen
        # this revision would drop the change that came meanwhile
        revision = self._feed.revision(session_id)
        session = await self._log.session(session_id)
        return summary_of(session, revision=revision, leases=self._leases)

    async def put(
        self,
        session_id: str,
        config: Config | None,
        events: Sequence[Mapping[str, Any]],
        *,
        archived: bool,
    ) -> dict[str, Any]:
        """Create or update a session from its object and deliver the object's events, each once, in order.

        An event carries its `name`, and the field manager that wrote it as `manager` where that is known. Without a
        config the stored one stays. Raises: NotFoundError when there is none.
        """
        session = await (self._log.session(session_id) if config is None else self.configure(config))
        names = [str(event["name"]) for event in events]
        if names or session.delivered or session.rejected:
            await self._deliver(session, names, events)
        if archived:
            await self._log.archive(session_id)
        return await self.summary(session_id)

    async def configure(self, config: Config) -> Session:
        """Create or configure a session; an older generation of its object changes nothing.

        Raises: ConflictError when its id was deleted, or is another namespace's;
        RejectedError for a file that the namespace does not have.
        """
        async with self._locks.holding(config["id"]):
            try:
                previous = await self._log.config(config["id"])
            except NotFoundError:
                previous = None
            if previous is not None and previous["namespace"] != config["namespace"]:
                raise ConflictError(f"session {config['id']} belongs to another namespace")
            if previous is not None and config.get("generation", 0) < previous.get("generation", 0):
                return await self._log.session(config["id"])
            resolved = await self._resources.resolved(config, previous)
            session = await self._log.put(resolved, changes_of)
            await self._resources.remove_stale(previous, resolved)
        return session

    async def send(
        self,
        session_id: str,
        events: Sequence[Mapping[str, Any]],
        *,
        key: str | None,
        sender: Mapping[str, Any],
        reply: ReplyKey | None = None,
    ) -> Sequence[LoggedEvent]:
        """Queue client events that `parse_events` accepted, all or none. Raises: as `EventLog.append`."""
        paths = [f"events.{index}" for index in range(len(events))]
        await self._check_config(session_id, events, paths)
        appended = await self._log.append(
            Append(
                session=session_id,
                events=events,
                key=None if key is None else API_KEY + key,
                admit=admit_for(SessionId(session_id), events, paths),
                sender=sender,
                reply=reply,
            )
        )
        return appended.events

    async def emit(self, request: Append) -> Appended:
        """Append a harness's events under its epoch."""
        return await self._log.append(request)

    async def release(self, session_id: str, epoch: int) -> dict[str, Any]:
        """Release a session's harness. Raises: FencedError, InputWaitingError."""
        await self._log.release(session_id, epoch)
        return await self.summary(session_id)

    async def delete(self, session_id: str, namespace: str | None = None) -> None:
        """Remove a session with its files; also when it is gone. One of another namespace than the named stays."""
        if namespace is not None:
            with contextlib.suppress(NotFoundError):
                if (await self._log.session(session_id)).namespace != namespace:
                    return
        await self._purge_tokens(session_id)
        await self._log.delete(session_id)
        await self._resources.remove_all(session_id)

    async def _purge_tokens(self, session_id: str) -> None:
        """Remove the tokens that came by the API: their Secret goes with the Session only if it was adopted.

        Raises: RetryableError.
        """
        with contextlib.suppress(NotFoundError):
            session, config = await self._log.session(session_id), await self._log.config(session_id)
            if any(entry.get("has_token") for entry in config.get("resources") or ()):
                with contextlib.suppress(ForbiddenError, RejectedError):
                    await self._tokens.purge(session.namespace, session.name)

    async def has_sandbox(self, session_id: str) -> bool:
        """Tell whether the session has a sandbox that is ready."""
        sandbox = (await self._log.session(session_id)).sandbox
        return sandbox is not None and sandbox.state == "ready"

    async def claim_sandbox(self, session_id: str, epoch: int, wait_seconds: float) -> Sandbox:
        """Return the session's sandbox, at once from a pool or waiting for it to be ready. Raises: FencedError."""
        deadline = self._clock.monotonic() + wait_seconds
        with self._feed.waiting(session_id) as changed:
            pool = await self._pools.claim_for(session_id)
            sandbox = await self._log.claim_sandbox(session_id, epoch, pool)
            while sandbox.state == "wanted" and await self._changed(changed, deadline):
                sandbox = await self._log.sandbox(session_id, sandbox.pod_name)
        return sandbox

    async def sandbox(self, session_id: str, pod_name: str, wait_seconds: float) -> Sandbox:
        """Return a sandbox's record, waiting for it to be gone. Raises: NotFoundError."""
        deadline = self._clock.monotonic() + wait_seconds
        with self._feed.waiting(session_id) as changed:
            sandbox = await self._log.sandbox(session_id, pod_name)
            while sandbox.state != "gone" and await self._changed(changed, deadline):
                sandbox = await self._log.sandbox(session_id, pod_name)
        return sandbox

    async def report_sandbox(self, session_id: str, report: Sandbox) -> None:
        """Store what the operator saw. A record that never was can only be gone. Raises: NotFoundError."""
        try:
            await self._log.report_sandbox(session_id, report)
        except NotFoundError:
            if report.state != "gone":
                raise

    async def _deliver(self, session: Session, names: Sequence[str], events: Sequence[Mapping[str, Any]]) -> None:
        known = dict(await self._log.keys(session.id, [SPEC_KEY + name for name in names]))
        before: str | None = None
        for name, event in zip(names, events, strict=True):
            if SPEC_KEY + name not in known:
                known[SPEC_KEY + name] = await self._deliver_one(session.id, name, event, before)
            before = event.get("type")
        results = {name: known[SPEC_KEY + name] for name in names}
        rejected = [
            {"name": name, "reason": result.reason, "message": result.message}
            for name, result in results.items()
            if result is not None
        ]
        await self._log.note_spec(session.id, [name for name, result in results.items() if result is None], rejected)

    async def _deliver_one(
        self, session_id: str, name: str, event: Mapping[str, Any], before: str | None
    ) -> Rejection | None:
        key, path = SPEC_KEY + name, f"events[{name}]"
        try:
            parsed = parse_event({item: value for item, value in event.items() if item not in _ENTRY_FIELDS}, path)
            await self._check_config(session_id, [parsed], [path])
            await self._log.append(
                Append(
                    session=session_id,
                    events=[parsed],
                    key=key,
                    admit=admit_for(SessionId(session_id), [parsed], [path], before=before),
                    sender=_spec_sender(event),
                )
            )
        except KeyReusedError:
            return None  # a repeat that overtook us: the first one counts
        except RejectedError as error:
            rejection = Rejection(reason=error.reason, message=error.message)
            await self._log.reject(session_id, key, rejection)
            return rejection
        return None

    async def _check_config(self, session_id: str, events: Sequence[Mapping[str, Any]], paths: Sequence[str]) -> None:
        if needs_config(events):
            check_config(await self._log.config(session_id), events, paths)

    async def _changed(self, changed: asyncio.Event, deadline: float) -> bool:
        try:
            async with asyncio.timeout(max(deadline - self._clock.monotonic(), 0)):
                await changed.wait()
        except TimeoutError:
            return False
        changed.clear()  # before the next look, so that a change during it is not lost
        return True


_ENTRY_FIELDS = frozenset({"name", "manager"})
"""What an entry of a Session's `spec.events` has beside the event."""


def _spec_sender(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """Say who wrote an entry: the field manager, as kubectl or Argo CD names itself."""
    return {"via": "spec"} | ({"manager": event["manager"]} if event.get("manager") else {})


def changes_of(old: Config, new: Config) -> Sequence[Mapping[str, Any]]:
    """Return the `session.updated` event that a change of config leads to, if any."""
    changed = {key: new.get(key) for key in _REPORTED if old.get(key) != new.get(key)}
    return [{"type": types.SESSION_UPDATED, **changed}] if changed else []
