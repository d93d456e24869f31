"""The only writer of Sessions, of what belongs to them and of all our statuses. It runs actions and decides nothing.

Each effect is idempotent, so any of them may be repeated after a crash or a lost answer. What the kube-apiserver
answers goes into the cache at once. `ServerEffects` does the same at the event log's server.
"""

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import assert_never

from managed_agents.contracts import names
from managed_agents.contracts.clock import Clock
from managed_agents.contracts.errors import ConflictError, NotFoundError, RejectedError
from managed_agents.kube.client import Kube
from managed_agents.kube.errors import AlreadyExistsError
from managed_agents.kube.resources import NETWORK_POLICIES, SESSIONS, Manifest, Resource
from managed_agents.operator.actions import (
    AdoptChild,
    Announce,
    ClusterAction,
    CreateChild,
    DeleteChild,
    DeleteSession,
    EnsureNamespace,
    PutSession,
    RegisterPod,
    ReleaseHarness,
    ReportSandbox,
    ServerAction,
    SetFinalizer,
    UnregisterPod,
    UpdateChild,
    WriteStatus,
)
from managed_agents.operator.announcer import Announcer
from managed_agents.operator.cache import Cache
from managed_agents.operator.metrics import Metrics
from managed_agents.operator.server_api import ServerApi
from managed_agents.operator.sessions.metadata import is_owned_by
from managed_agents.operator.sessions.model import Memory
from managed_agents.operator.sessions.policies import namespace_objects_for, policies_amiss
from managed_agents.operator.sessions.status import digest_of
from managed_agents.operator.summaries import Summaries

FINALIZER_ATTEMPTS_MAX = 5
"""Each conflict means that somebody else wrote the Session in between; more than a few is a fight, not a race."""


class ClusterEffects:
    """Writes at the kube-apiserver."""

    def __init__(
        self,
        kube: Kube,
        cache: Cache,
        announcer: Announcer,
        *,
        clock: Clock,
        metrics: Metrics,
        system_namespace: str,
    ) -> None:
        self._kube = kube
        self._cache = cache
        self._announcer = announcer
        self._clock = clock
        self._metrics = metrics
        self._system_namespace = system_namespace
        self._namespaces: set[str] = set()
        self._ensured: set[tuple[str, str, str]] = set()

    def is_namespace_ready(self, namespace: str) -> bool:
        """Tell whether this process has seen to a namespace since the last sweep, and its policies stand as known."""
        return namespace in self._namespaces and not self._policies_amiss(namespace)

    def forget_namespace(self, namespace: str) -> None:
        """See to its policies again before the next Pod: it may be deleted and made anew under the same name."""
        self._namespaces.discard(namespace)
        self._ensured = {key for key in self._ensured if key[0] != namespace}

    def forget_namespaces(self) -> None:
        """See to every namespace's policies again before the next Pod: somebody may have removed them."""
        self._namespaces.clear()
        self._ensured.clear()

    async def run(self, action: ClusterAction, memory: Memory) -> Memory:
        """Run one effect and return the memory after it. Raises: whatever the kube-apiserver refuses with."""
        match action:
            case SetFinalizer():
                return await self._set_finalizer(action, memory)
            case EnsureNamespace(namespace=namespace):
                await self._ensure_namespace(namespace)
                return memory
            case CreateChild():
                return await self._create(action, memory)
            case UpdateChild(resource=resource, manifest=manifest):
                await self._apply(resource, manifest)
                return _counted(memory)
            case AdoptChild():
                return await self._adopt(action, memory)
            case DeleteChild():
                return await self._delete(action, memory)
            case WriteStatus():
                return await self._write_status(action, memory)
            case Announce():
                await self._announcer.announce(action)
                return memory
            case _:
                assert_never(action)

    async def restore_policies(self, namespace: str) -> None:
        """Apply again what is amiss with a namespace's policies, as far as known. Raises: ForbiddenError."""
        for manifest in self._policies_amiss(namespace):
            await self._apply(NETWORK_POLICIES, manifest)

    async def apply_uncached(self, resource: Resource, manifest: Manifest) -> None:
        """Apply an object that belongs to no Session, and keep nothing of it: Secrets never enter the cache."""
        self._count(resource, "patch")
        metadata = manifest["metadata"]
        await self._kube.apply(resource, metadata["namespace"], metadata["name"], manifest)

    async def create(self, resource: Resource, manifest: Manifest) -> Manifest:
        """Create an object that belongs to no Session. Raises: AlreadyExistsError."""
        self._count(resource, "create")
        return await self._kube.create(resource, manifest["metadata"]["namespace"], manifest)

    async def remove(self, resource: Resource, manifest: Manifest) -> None:
        """Delete an object that belongs to no Session; one that is gone is success."""
        self._count(resource, "delete")
        metadata = manifest["metadata"]
        try:
            await self._kube.delete(resource, metadata["namespace"], metadata["name"], uid=metadata["uid"])
        except (NotFoundError, ConflictError):
            return

    async def annotate(self, resource: Resource, manifest: Manifest, annotations: Mapping[str, str]) -> None:
        """Put annotations on an object; one that is gone is success."""
        self._count(resource, "patch")
        metadata = manifest["metadata"]
        body: Manifest = {"metadata": {"uid": metadata["uid"], "annotations": dict(annotations)}}
        try:
            await self._kube.merge(resource, metadata["namespace"], metadata["name"], body)
        except (NotFoundError, ConflictError, RejectedError):  # another UID under the name is refused as invalid
            return

    async def _set_finalizer(self, action: SetFinalizer, memory: Memory) -> Memory:
        session = action.session
        metadata = session["metadata"]
        for _ in range(FINALIZER_ATTEMPTS_MAX):
            held = session["metadata"].get("finalizers") or []
            if (names.FINALIZER in held) == action.present:
                self._cache.put(SESSIONS, session)
                return memory
            kept = [name for name in held if name != names.FINALIZER]
            wanted = [*kept, names.FINALIZER] if action.present else kept
            version = session["metadata"]["resourceVersion"]
            body: Manifest = {"metadata": {"uid": metadata["uid"], "resourceVersion": version, "finalizers": wanted}}
            self._count(SESSIONS, "patch")
            try:
                answer = await self._kube.merge(SESSIONS, metadata["namespace"], metadata["name"], body)
            except ConflictError:
                session = await self._kube.get(SESSIONS, metadata["namespace"], metadata["name"])
                if session["metadata"]["uid"] != metadata["uid"]:
                    return memory
                continue
            except NotFoundError:
                return memory
            self._store_or_remove(SESSIONS, answer, gone=not action.present and not kept)
            return _counted(memory)
        raise ConflictError(f'Session "{metadata["name"]}" changed {FINALIZER_ATTEMPTS_MAX} times under the finalizer')

    async def _ensure_namespace(self, namespace: str) -> None:
        """Apply one after the other, each once: a retry goes on where the last attempt failed."""
        for resource, manifest in namespace_objects_for(namespace, system_namespace=self._system_namespace):
            key = (namespace, resource.plural, str(manifest["metadata"]["name"]))
            if key not in self._ensured:
                await self._apply(resource, manifest)
                self._ensured.add(key)
        await self.restore_policies(namespace)
        self._namespaces.add(namespace)

    def _policies_amiss(self, namespace: str) -> list[Manifest]:
        standing = self._cache.in_namespace(NETWORK_POLICIES, namespace)
        return policies_amiss(namespace, standing, system_namespace=self._system_namespace)

    async def _create(self, action: CreateChild, memory: Memory) -> Memory:
        metadata = action.manifest["metadata"]
        self._count(action.resource, "create")
        try:
            answer = await self._kube.create(action.resource, metadata["namespace"], action.manifest)
        except AlreadyExistsError:
            existing = await self._kube.get(action.resource, metadata["namespace"], metadata["name"])
            if not is_owned_by(existing, action.owner_uid):
                raise
            self._cache.put(action.resource, existing)
            return _counted(memory)
        self._cache.put(action.resource, answer)
        return _counted(memory)

    async def _adopt(self, action: AdoptChild, memory: Memory) -> Memory:
        metadata: Manifest = {"uid": action.uid, "labels": action.labels}
        if action.owner is not None:
            metadata["ownerReferences"] = [action.owner]
        self._count(action.resource, "patch")
        try:
            answer = await self._kube.merge(action.resource, action.namespace, action.name, {"metadata": metadata})
        except (NotFoundError, ConflictError, RejectedError):  # gone, or another object has its name by now
            self._cache.remove(action.resource, action.namespace, action.name, action.uid)
            return memory
        self._cache.put(action.resource, answer)
        return _counted(memory)

    async def _delete(self, action: DeleteChild, memory: Memory) -> Memory:
        self._count(action.resource, "delete")
        try:
            answer = await self._kube.delete(
                action.resource, action.namespace, action.name, uid=action.uid, grace_seconds=action.grace_seconds
            )
        except (NotFoundError, ConflictError):  # gone, or another object has its name by now
            self._cache.remove(action.resource, action.namespace, action.name, action.uid)
            return memory
        if answer.get("kind") == action.resource.kind and answer["metadata"].get("deletionTimestamp"):
            self._cache.put(action.resource, answer)
        else:
            self._cache.remove(action.resource, action.namespace, action.name, action.uid)
        return _counted(memory)

    async def _write_status(self, action: WriteStatus, memory: Memory) -> Memory:
        metadata = action.owner["metadata"]
        # A status apply never creates. On an object made anew under the name it is not refused (the kube-apiserver
        # ignores metadata here); the newcomer's own reconcile puts that right.
        body: Manifest = {
            "metadata": {"name": metadata["name"], "namespace": metadata["namespace"]},
            "status": action.status,
        }
        self._count(action.resource, "patch")
        try:
            answer = await self._kube.apply(
                action.resource, metadata["namespace"], metadata["name"], body, subresource="status"
            )
        except NotFoundError:
            return memory
        self._cache.put(action.resource, answer)
        return replace(_counted(memory), status_digest=digest_of(action.status), status_written_at=self._clock.now())

    async def _apply(self, resource: Resource, manifest: Manifest) -> None:
        self._count(resource, "patch")
        metadata = manifest["metadata"]
        answer = await self._kube.apply(resource, metadata["namespace"], metadata["name"], manifest)
        self._cache.put(resource, answer)

    def _store_or_remove(self, resource: Resource, answer: Manifest, *, gone: bool) -> None:
        metadata = answer["metadata"]
        if gone and metadata.get("deletionTimestamp"):
            self._cache.remove(resource, metadata["namespace"], metadata["name"], metadata["uid"])
        else:
            self._cache.put(resource, answer)

    def _count(self, resource: Resource, verb: str) -> None:
        self._metrics.writes.labels(resource=resource.plural, verb=verb).inc()


class ServerEffects:
    """Calls of the event log's server."""

    def __init__(self, server: ServerApi, summaries: Summaries) -> None:
        self._server = server
        self._summaries = summaries

    async def run(self, action: ServerAction, memory: Memory) -> Memory:
        """Run one call and return the memory after it. Raises: whatever the server refuses with."""
        match action:
            case PutSession():
                self._summaries.put(await self._server.put_session(action))
                return replace(memory, put_digest=action.digest)
            case DeleteSession(session_id=session_id, namespace=namespace):
                await self._server.delete_session(session_id, namespace)
                return replace(memory, is_deleted_at_server=True)
            case ReleaseHarness(session_id=session_id, epoch=epoch):
                return await self._release(session_id, epoch, memory)
            case RegisterPod(pod_uid=pod_uid):
                await self._server.register_pod(action)
                return replace(memory, registered=memory.registered | {pod_uid})
            case UnregisterPod(pod_uid=pod_uid):
                await self._server.unregister_pod(pod_uid)
                return replace(memory, registered=memory.registered - {pod_uid})
            case ReportSandbox():
                return await self._report(action, memory)
            case _:
                assert_never(action)

    async def _release(self, session_id: str, epoch: int, memory: Memory) -> Memory:
        try:
            summary = await self._server.release(session_id, epoch)
        except ConflictError:  # input has arrived, or another epoch was taken: its summary says what now
            self._summaries.put(await self._server.get_session(session_id))
            raise
        self._summaries.put(summary)
        return replace(memory, registered=frozenset())

    async def _report(self, report: ReportSandbox, memory: Memory) -> Memory:
        with contextlib.suppress(NotFoundError):  # the session has another sandbox by now, or none
            await self._server.report_sandbox(report)
        others = frozenset(item for item in memory.reported if not item.startswith(f"{report.pod_name}|"))
        return replace(memory, reported=others | {report.fingerprint})


def _counted(memory: Memory) -> Memory:
    return replace(memory, writes=memory.writes + 1)
