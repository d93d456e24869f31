"""Finds a Session's sandbox Pods and the claims of its workspace: its own, and what it took from a pool.

Labels prove nothing, and the names of a pool's objects say nothing of a Session: the server's record names the Pod by
its UID, and the claim that came with it.
"""

from managed_agents.contracts import names
from managed_agents.contracts.errors import NotFoundError
from managed_agents.kube.client import Kube
from managed_agents.kube.resources import CLAIMS, PODS, Manifest, Resource
from managed_agents.operator.cache import Cache
from managed_agents.operator.sessions.metadata import is_owned_by
from managed_agents.operator.summaries import SandboxRecord, Summary


class SandboxObjects:
    """Looks in the cache, and live for a claimed Pod that the cache lacks."""

    def __init__(self, kube: Kube, cache: Cache) -> None:
        self._kube = kube
        self._cache = cache

    async def pods(self, namespace: str, uid: str, summary: Summary | None) -> list[Manifest]:
        """Return the sandbox Pods of a Session. Raises: RetryableError when a live read fails."""
        pods = [pod for pod in self._cache.children(PODS, uid) if _is_sandbox(pod) and is_owned_by(pod, uid)]
        record = summary.sandbox if summary is not None else None
        if record is None or not record.is_claimed or record.pod_name in {pod["metadata"]["name"] for pod in pods}:
            return pods
        found = self._cache.get(PODS, namespace, record.pod_name)
        if found is None or found["metadata"]["uid"] != record.pod_uid:
            found = await self._live(namespace, record.pod_name)
        if found is not None and (is_owned_by(found, uid) or _is_taken(found, record)):
            pods.append(found)
        return pods

    async def _live(self, namespace: str, name: str) -> Manifest | None:
        try:
            pod = await self._kube.get(PODS, namespace, name)
        except NotFoundError:
            return None
        self._cache.put(PODS, pod)
        return pod

    def claims(self, namespace: str, uid: str, summary: Summary | None) -> list[Manifest]:
        """Return the claims of a Session's workspace."""
        claims = [claim for claim in self._cache.children(CLAIMS, uid) if is_owned_by(claim, uid)]
        if summary is None or summary.workspace is None:
            return claims
        taken = self._cache.get(CLAIMS, namespace, summary.workspace)
        if taken is not None and _is_pooled(taken):
            claims.append(taken)
        return claims


def from_pool(uid: str, pods: list[Manifest], claims: list[Manifest]) -> tuple[tuple[Resource, Manifest], ...]:
    """Return those of a Session's objects that are still a pool's: its owner and labels are to follow."""
    found = [*((PODS, pod) for pod in pods), *((CLAIMS, claim) for claim in claims)]
    return tuple(
        (resource, manifest)
        for resource, manifest in found
        if not is_owned_by(manifest, uid) and not manifest["metadata"].get("deletionTimestamp")
    )


def _is_taken(pod: Manifest, record: SandboxRecord) -> bool:
    """Tell whether a Pod of a pool is the one that the record names; what another Session owns stays with it."""
    return bool(pod["metadata"]["uid"] == record.pod_uid) and _is_pooled(pod)


def _is_pooled(manifest: Manifest) -> bool:
    labels = manifest["metadata"].get("labels") or {}
    return names.LABEL_POOL in labels and not manifest["metadata"].get("ownerReferences")


def _is_sandbox(pod: Manifest) -> bool:
    return bool(pod["metadata"]["labels"].get(names.LABEL_COMPONENT) == names.COMPONENT_SANDBOX)
