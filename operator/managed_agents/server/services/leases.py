"""Leases: at most one living connection of a harness per session, and what is sent down it (design §6)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Literal

import orjson

from managed_agents.contracts.clock import Clock
from managed_agents.contracts.errors import ManagedAgentsError
from managed_agents.contracts.limits import LEASE_LOST_SECONDS
from managed_agents.eventlog.records import Change, Config, HarnessPod, LoggedEvent, Sandbox, Session, WarmHarness
from managed_agents.eventlog.store import EventLog
from managed_agents.server.services.feed import ChangeFeed, Waiters
from managed_agents.server.services.last_looks import LastLooks
from managed_agents.server.services.warm_harnesses import RECONNECT_SECONDS, TAKEOVER_SECONDS, Offer, WarmHarnesses

REGISTRATION_SECONDS = 30.0
"""A Pod that is not registered waits this long for the operator, then its socket closes."""

OUTBOX_MAX = 2000
"""Frames that wait for a harness; one that reads slower than this loses its lease and reads the log again."""

End = Literal["released", "fenced", "deleted", "lost"]


class Lease:
    """One harness's right to a session, for as long as its connection lives. `epoch` is 0 until it is granted."""

    def __init__(self, session_id: str, pod_uid: str, now: float) -> None:
        self.session_id = session_id
        self.pod_uid = pod_uid
        self.epoch = 0
        self.last_heartbeat = now
        self.ended = asyncio.Event()
        self._head = 0
        self._outbox: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._early: list[LoggedEvent] = []
        self._early_config: Config | None = None
        self._vaults: tuple[str, frozenset[str]] = ("", frozenset())

    def grant(self, epoch: int, head: int, config: Config) -> None:
        """Send the lease, then what arrived after its head while it was being granted."""
        self.epoch, self._head = epoch, head
        config = self._early_config or config  # which may have been read before the change that came meanwhile
        frame = {"type": "lease", "session": config, "epoch": epoch, "head": head, "appends": True}
        self._note(config)
        self._send(orjson.dumps(frame))
        early, self._early = self._early, []
        for event in early:
            self.event(event)

    def event(self, event: LoggedEvent) -> None:
        """Send an event that this harness did not append itself."""
        if self.epoch == 0:
            self._early.append(event)
        elif event.position > self._head:
            self._send(b'{"type":"event","event":%b}' % event.logged())

    def config(self, config: Config) -> None:
        """Send a changed config."""
        if self.epoch == 0:
            self._early_config = config
        else:
            self._note(config)
            self._send(orjson.dumps({"type": "session", "session": config}))

    def answer(self, call: int, status: int, body: dict[str, Any]) -> None:
        """Send the answer to an append that came over the connection."""
        self._send(orjson.dumps({"type": "answer", "call": call, "status": status, "body": body}))

    def has_vault(self, namespace: str, vault_id: str) -> bool:
        """Tell whether the session is of this namespace and names this vault."""
        return self._vaults[0] == namespace and vault_id in self._vaults[1] and not self.ended.is_set()

    def probe(self, probe: str, credential_id: str, version: str) -> None:
        """Ask the session's proxy to try a credential (`credential_probes.py`)."""
        self._send(orjson.dumps({"type": "probe", "probe": probe, "credential_id": credential_id, "version": version}))

    def end(self, how: End, sandbox_name: str | None = None) -> None:
        """Send the last frame, if there is one for this end, and stop. It names a sandbox to look into once more."""
        if self.ended.is_set():
            return
        if how != "lost":
            named = {} if sandbox_name is None else {"sandbox": sandbox_name}
            self._outbox.put_nowait(orjson.dumps({"type": how, **named}))
        self._outbox.put_nowait(None)
        self.ended.set()

    async def frames(self) -> AsyncIterator[bytes]:
        """Yield the frames to send, until the lease has ended."""
        while (frame := await self._outbox.get()) is not None:
            yield frame

    def _note(self, config: Config) -> None:
        self._vaults = str(config.get("namespace")), frozenset(config.get("vault_ids") or ())

    def _send(self, frame: bytes) -> None:
        if self.ended.is_set():
            return
        self._outbox.put_nowait(frame)
        if self._outbox.qsize() > OUTBOX_MAX:
            self.end("lost")


class Leases:
    """All living leases of this server."""

    def __init__(self, log: EventLog, clock: Clock, feed: ChangeFeed) -> None:
        self._log = log
        self._clock = clock
        self._feed = feed
        self.last_looks = LastLooks(clock, feed.notify)
        self._held: dict[str, Lease] = {}
        self._registrations = Waiters()
        self.warm = WarmHarnesses(log, is_held=self._held.__contains__, take=self._take_warm, changed=feed.notify)
        self.closed = False

    def __len__(self) -> int:
        return len(self._held)

    def holder(self, session_id: str) -> str | None:
        """Return the UID of the Pod that holds a session's lease."""
        lease = self._held.get(session_id)
        return None if lease is None or lease.epoch == 0 else lease.pod_uid

    def of_vault(self, namespace: str, vault_id: str) -> list[Lease]:
        """Return the living leases of sessions that name a vault."""
        return [lease for lease in self._held.values() if lease.has_vault(namespace, vault_id)]

    def needs_pod(self, session: Session) -> bool:
        """Tell whether the operator shall see to a Pod: the session is wanted, and no warm harness took it."""
        return session.wanted and session.id not in self._held and not self.warm.is_seeking(session.id)

    async def acquire(self, pod_uid: str, seconds: float = REGISTRATION_SECONDS) -> Lease | None:
        """Wait for this Pod's session to be free and take it under a new epoch.

        Null when the Pod has no session it could run for that many seconds; while another Pod holds it, for as long
        as it takes. A warm Pod has none yet: it waits until a session is given to it.
        """
        deadline = self._clock.monotonic() + seconds
        with self._registrations.waiting(pod_uid) as registered:
            while not self.closed:
                registered.clear()
                pod = await self._log.harness_pod(pod_uid)
                if pod is None and (warm := await self._log.warm_harness(pod_uid)) is not None:
                    if (given := await self._wait_warm(warm, registered)) is not None:
                        return given
                    deadline = self._clock.monotonic() + seconds
                    continue
                holder = None if pod is None else self._held.get(pod.session_id)
                if pod is not None and holder is not None and holder.pod_uid != pod_uid:
                    await holder.ended.wait()
                    continue
                lease = None if pod is None else await self._take(pod)
                if lease is not None:
                    return lease
                if pod is not None and pod.session_id in self._held:
                    continue
                if not await self._wait(registered, deadline - self._clock.monotonic()):
                    break
        return None

    async def _runnable(self, session_id: str) -> bool:
        try:
            session = await self._log.session(session_id)
        except ManagedAgentsError:
            return False
        return session.damage is None and session.projection.status != "terminated"

    async def _take(self, pod: HarnessPod) -> Lease | None:
        """Take the session, unless another Pod did while we looked, or the session cannot run now."""
        if not await self._runnable(pod.session_id):
            return None
        held = self._held.get(pod.session_id)
        if self.closed or (held is not None and held.pod_uid != pod.pod_uid):
            return None
        lease = Lease(pod.session_id, pod.pod_uid, self._clock.monotonic())
        self.warm.dismiss(pod.session_id)
        self._held[pod.session_id] = lease  # before the commit, so that no event between it and the grant is missed
        if held is not None:
            held.end("fenced")
        try:
            session = await self._log.take_epoch(pod.session_id)
            config = await self._log.config(pod.session_id)
            lease.last_heartbeat = self._clock.monotonic()
            lease.grant(session.epoch, session.projection.head, config)
        except ManagedAgentsError:
            return None
        finally:
            if not lease.epoch:
                self.end(lease, "lost")
        self._feed.notify(pod.session_id)
        return lease

    async def _wait_warm(self, warm: WarmHarness, registered: asyncio.Event) -> Lease | None:
        """Wait in line for a session; null when this Pod is no longer offered as it was."""
        try:
            leased = await self.warm.wait(warm, registered)
        except asyncio.CancelledError:
            self.unregistered(warm.pod_uid)  # its socket closed in the instant in which it got a session
            raise
        return next((lease for lease in self._held.values() if lease.pod_uid == warm.pod_uid), None) if leased else None

    async def _take_warm(self, session_id: str, offer: Offer) -> None:
        """Give a session to a warm harness, unless another Pod took it meanwhile or the harness went."""
        if self.closed or session_id in self._held:
            return
        lease = Lease(session_id, offer.warm.pod_uid, self._clock.monotonic())
        self._held[session_id] = lease  # before the commit, as in `_take`
        try:
            session = await self._log.lease_harness(session_id, offer.warm.pod_uid)
            if session is None:
                return
            config = await self._log.config(session_id)
            lease.last_heartbeat = self._clock.monotonic()
            lease.grant(session.epoch, session.projection.head, config)
            offer.end(leased=True)
        except ManagedAgentsError:
            return
        finally:
            if not lease.epoch or not offer.is_taken:
                self.end(lease, "lost")
        self._feed.notify(session_id)

    async def _wait(self, registered: asyncio.Event, seconds: float) -> bool:
        """Wait until the operator says anything about a Pod."""
        try:
            async with asyncio.timeout(max(seconds, 0)):
                await registered.wait()
        except TimeoutError:
            return False
        return True

    def registered(self, pod_uid: str) -> None:
        """Tell a waiting Pod that it is registered now."""
        self._registrations.wake(pod_uid)

    def unregistered(self, pod_uid: str) -> None:
        """End what a Pod holds: it is gone."""
        self.last_looks.lost(pod_uid)
        for lease in [lease for lease in self._held.values() if lease.pod_uid == pod_uid]:
            self.end(lease, "fenced")

    def heartbeat(self, lease: Lease) -> None:
        """Note that a harness lives."""
        lease.last_heartbeat = self._clock.monotonic()

    def expire(self) -> None:
        """End the leases without a heartbeat for too long, and the last looks that take too long."""
        self.last_looks.expire()
        now = self._clock.monotonic()
        for lease in [lease for lease in self._held.values() if lease.epoch]:
            if now - lease.last_heartbeat > LEASE_LOST_SECONDS:
                self.end(lease, "lost")

    def end(self, lease: Lease, how: End, sandbox: Sandbox | None = None) -> None:
        """End a lease; its session is free at once. What is left in a sandbox may still be copied for a while."""
        name = sandbox.pod_name if sandbox is not None and sandbox.state == "ready" else None
        if name is not None and not lease.ended.is_set():
            self.last_looks.begin(lease.session_id, harness_uid=lease.pod_uid, sandbox_name=name)
        lease.end(how, name)
        if self._held.get(lease.session_id) is lease:
            del self._held[lease.session_id]
            self._feed.notify(lease.session_id)
            if not self.closed:
                self.warm.seek(lease.session_id, after_seconds=TAKEOVER_SECONDS if how == "lost" else 0.0)

    async def resume(self) -> None:
        """After a start: look for harnesses for the sessions whose own do not come back."""
        for session_id in await self._log.sessions():
            with contextlib.suppress(ManagedAgentsError):
                if (await self._log.session(session_id)).wanted:
                    self.warm.seek(session_id, after_seconds=RECONNECT_SECONDS)

    def _unheld(self, change: Change) -> None:
        if change.config is not None:
            self.warm.dismiss(change.session_id)  # it may name another harness image now
        if change.session is not None and change.session.wanted and not self.closed:
            self.warm.seek(change.session_id)
        else:
            self.warm.dismiss(change.session_id)

    def end_all(self) -> None:
        """End every lease and every wait for one: the server stops."""
        self.closed = True
        self._registrations.wake_all()
        for lease in list(self._held.values()):
            self.end(lease, "lost")

    def on_change(self, change: Change) -> None:
        """Send a change of the log down the lease of its session."""
        if change.session is None:
            self.last_looks.forget(change.session_id)
        lease = self._held.get(change.session_id)
        if lease is None:
            self._unheld(change)
            return
        # The config first: a harness that the events wake then acts on what they tell of.
        if change.config is not None:
            lease.config(change.config)
        for event in change.events:
            if event.epoch is None:
                lease.event(event)
        self._end_after(lease, change.session)

    def _end_after(self, lease: Lease, session: Session | None) -> None:
        if session is None:
            self.end(lease, "deleted")
        elif lease.epoch and session.released and session.epoch == lease.epoch:
            self.end(lease, "released", session.sandbox)
        elif lease.epoch and session.epoch > lease.epoch:
            self.end(lease, "fenced")
        elif lease.epoch and session.projection.status == "terminated":
            self.end(lease, "fenced", session.sandbox)
        elif lease.ended.is_set():
            self.end(lease, "lost")
