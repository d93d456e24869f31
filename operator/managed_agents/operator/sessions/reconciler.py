"""Observe, decide, apply: rounds until a Session wants no more effects, then its status, once."""

from dataclasses import replace

import structlog

from managed_agents.contracts import names
from managed_agents.contracts.api import conditions
from managed_agents.contracts.clock import Clock
from managed_agents.contracts.errors import (
    ConflictError,
    ManagedAgentsError,
    NotFoundError,
    RejectedError,
    RetryableError,
)
from managed_agents.kube.client import Kube
from managed_agents.kube.errors import AlreadyExistsError, ForbiddenError
from managed_agents.kube.resources import SESSIONS, Manifest
from managed_agents.operator.actions import Action, CreateChild, DeleteSession, ServerAction
from managed_agents.operator.apply import ClusterEffects, ServerEffects
from managed_agents.operator.cache import Cache
from managed_agents.operator.errors import VolumeFullError
from managed_agents.operator.keys import Key
from managed_agents.operator.metrics import Metrics
from managed_agents.operator.sessions.announcements import memory_kills
from managed_agents.operator.sessions.decide import decide, effects_of, status_of
from managed_agents.operator.sessions.model import Decision, Fault, Memory, Observed
from managed_agents.operator.sessions.observe import Observer
from managed_agents.operator.sessions.run import needs_start
from managed_agents.operator.starts import Starts
from managed_agents.operator.summaries import Summaries

ROUNDS_MAX = 6
"""Effects call for effects: finalizer, server, Deployment, Pods, report. More is a loop and waits for the queue."""

FAULT_RETRY_SECONDS = 10.0
"""A quota or an admission policy changes without an event of ours."""


class SessionReconciler:
    """Reconciles one Session at a time; callers see to it that none runs twice at once."""

    def __init__(
        self,
        observer: Observer,
        cluster: ClusterEffects,
        server: ServerEffects,
        *,
        kube: Kube,
        cache: Cache,
        summaries: Summaries,
        starts: Starts,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._observer = observer
        self._cluster = cluster
        self._server = server
        self._kube = kube
        self._cache = cache
        self._summaries = summaries
        self._starts = starts
        self._clock = clock
        self._metrics = metrics
        self._memories: dict[str, Memory] = {}
        self._log = structlog.get_logger()

    def forget_server(self) -> None:
        """Tell the server everything again: it may have been restored from a backup."""
        for uid, memory in self._memories.items():
            self._memories[uid] = replace(memory, put_digest=None, registered=frozenset(), reported=frozenset())

    async def reconcile(self, namespace: str, name: str) -> float | None:
        """Bring a Session to what it says. Returns when to look again. Raises: RetryableError and what is a bug."""
        session = self._cache.get(SESSIONS, namespace, name)
        if session is None:
            await self._forget_lost(namespace, name)
            return None
        failures: list[ManagedAgentsError] = []
        for _ in range(ROUNDS_MAX):
            observed = await self._observe(session)
            decision = decide(observed, self._clock.now())
            effects = effects_of(decision)
            if not effects:
                if observed.memory.fault is None:  # most looks end here, with what was just seen
                    return await self._finish(observed, decision, failures)
                self._clear_fault(observed.uid)
                break
            failures = await self._apply(observed, effects)
            session = self._cache.get(SESSIONS, namespace, name)
            if session is None:
                self._ended(observed)
                return None
            if failures:
                break
        observed = await self._observe(session)
        return await self._finish(observed, decide(observed, self._clock.now()), failures)

    async def _finish(self, observed: Observed, decision: Decision, failures: list[ManagedAgentsError]) -> float | None:
        """Write the status that the effects have led to; then ask for a retry if one of them failed."""
        left = [] if failures or not effects_of(decision) else [RetryableError("more effects than rounds")]
        failures = [*failures, *left, *await self._apply_status(observed, decision)]
        retries = [failure for failure in failures if isinstance(failure, (RetryableError, ConflictError))]
        if retries:
            raise retries[0]
        if failures:
            self._log.warning("session_refused", session=observed.name, error=failures[0].message)
            return min(decision.requeue_after or FAULT_RETRY_SECONDS, FAULT_RETRY_SECONDS)
        return decision.requeue_after

    async def _observe(self, session: Manifest) -> Observed:
        memory = self._memories.get(session["metadata"]["uid"]) or Memory()
        ready = self._cluster.is_namespace_ready(session["metadata"]["namespace"])
        observed = await self._observer.observe(session, memory, is_namespace_ready=ready)
        return replace(observed, may_start=self._takes_turn(observed))

    def _takes_turn(self, observed: Observed) -> bool:
        asker = Key("Session", observed.namespace, observed.name)
        deployment = names.harness_deployment_name_for(observed.name, observed.uid)
        if needs_start(observed):
            return self._starts.take(observed.namespace, deployment, asker)
        self._starts.leave(asker)
        if any(pod.reading.problem is not None for pod in observed.harness_pods):
            self._starts.end(observed.namespace, deployment)
        return False

    async def _apply(self, observed: Observed, groups: tuple[tuple[Action, ...], ...]) -> list[ManagedAgentsError]:
        """Run each group until its first failure; remember the worst failure as the Session's fault."""
        failures: list[ManagedAgentsError] = []
        fault: Fault | None = None
        for group in groups:
            for action in group:
                try:
                    await self._run(observed.uid, action)
                except ManagedAgentsError as failure:
                    failures.append(failure)
                    fault = fault or fault_of(action, failure)
                    if isinstance(action, CreateChild):
                        self._starts.end(observed.namespace, action.manifest["metadata"]["name"])
                    break
        memory = self._memories.get(observed.uid) or Memory()
        self._memories[observed.uid] = replace(memory, fault=fault, oom_kills=memory_kills(observed))
        return failures

    def _clear_fault(self, uid: str) -> None:
        memory = self._memories.get(uid)
        if memory is not None and memory.fault is not None:
            self._memories[uid] = replace(memory, fault=None)

    async def _apply_status(self, observed: Observed, decision: Decision) -> list[ManagedAgentsError]:
        failures: list[ManagedAgentsError] = []
        for group in status_of(decision):
            for action in group:
                try:
                    await self._run(observed.uid, action)
                except ManagedAgentsError as failure:
                    failures.append(failure)
                    break
        return failures

    async def _run(self, uid: str, action: Action) -> None:
        memory = self._memories.get(uid) or Memory()
        if isinstance(action, ServerAction):
            self._memories[uid] = await self._server.run(action, memory)
        else:
            self._memories[uid] = await self._cluster.run(action, memory)

    def _ended(self, observed: Observed) -> None:
        memory = self._memories.pop(observed.uid, Memory())
        self._starts.leave(Key("Session", observed.namespace, observed.name))
        self._summaries.remove(observed.session_id)
        if not self._cache.names_in(SESSIONS, observed.namespace):
            self._cluster.forget_namespace(observed.namespace)
        self._metrics.session_writes.observe(memory.writes)
        self._log.info(
            "session_removed", namespace=observed.namespace, session=observed.name, operator_writes=memory.writes
        )

    async def _forget_lost(self, namespace: str, name: str) -> None:
        """A Session that went without our finalizer: after a live look, the server forgets it too."""
        lost = [item for item in self._summaries.all() if (item.namespace, item.name) == (namespace, name)]
        if not lost:
            return
        try:
            session = await self._kube.get(SESSIONS, namespace, name)
        except NotFoundError:
            session = None
        if session is not None:
            self._cache.put(SESSIONS, session)
        for summary in lost:
            if session is None or session["metadata"]["uid"] != summary.uid:
                await self._server.run(DeleteSession(session_id=summary.id, namespace=namespace), Memory())
                self._summaries.remove(summary.id)
                self._memories.pop(summary.uid, None)


def fault_of(action: Action, failure: ManagedAgentsError) -> Fault | None:
    """Return the condition that a failure means for the Session's user; None where a retry settles it."""
    match failure:
        case ForbiddenError() if failure.is_quota:
            return Fault(reason=conditions.QUOTA_EXCEEDED, message=failure.message)
        case ForbiddenError():
            return Fault(reason=conditions.ACCESS_REFUSED, message=failure.message)
        case RejectedError():
            return Fault(reason=conditions.REFUSED, message=failure.message)
        case VolumeFullError():
            return Fault(reason=conditions.VOLUME_FULL, message=failure.message)
        case RetryableError() if isinstance(action, ServerAction):
            return Fault(reason=conditions.SERVER_UNREACHABLE, message=failure.message)
        case AlreadyExistsError():
            return Fault(reason=conditions.REFUSED, message=f"{failure.message}, and it is not ours; remove it")
        case _:  # a conflict, a slow kube-apiserver: the retry settles it
            return None
