"""Sees that an Environment's packages are installed and kept: asks the server, runs a Job where it has nothing.

Thin: read, ask the pure core, apply. What is being installed is looked at again every few seconds, for Jobs are not
watched: there are few of them, and none most of the time.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import assert_never

import structlog

from managed_agents.contracts.api import conditions
from managed_agents.contracts.egress import parse_rules
from managed_agents.contracts.errors import ManagedAgentsError, NotFoundError, RejectedError
from managed_agents.kube.client import Kube
from managed_agents.kube.errors import AlreadyExistsError, ForbiddenError
from managed_agents.kube.resources import ENVIRONMENTS, JOBS, NETWORK_POLICIES, PODS, Manifest
from managed_agents.operator.actions import EnsureNamespace
from managed_agents.operator.apply import ClusterEffects
from managed_agents.operator.cache import Cache
from managed_agents.operator.packages.job import LABEL_DIGEST, job_for, job_name_for, policy_for
from managed_agents.operator.packages.progress import Completed, Failed, Installing, progress_of
from managed_agents.operator.packages.spec import environment_packages, summary_of, wanted_digest
from managed_agents.operator.server_api import ServerApi
from managed_agents.operator.sessions.harness_pods import runs_our_containers
from managed_agents.operator.sessions.metadata import is_owned_by
from managed_agents.operator.sessions.model import Memory
from managed_agents.operator.settings import SessionSettings

COLLECT_SECONDS = 600.0
"""How long an archive may outlive the last Environment that wants it."""

INSTALLING_POLL_SECONDS = 3.0
FAILED_POLL_SECONDS = 30.0
"""A failed Job that its user deletes is made again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What is to be said of an Environment's packages, and when to look again. `digest`: what sandboxes can have."""

    digest: str | None = None
    reason: str | None = None
    message: str = ""
    requeue_after: float | None = None


class PackagesReconciler:
    """Installs what Environments want and removes what none wants any more."""

    def __init__(
        self, kube: Kube, cache: Cache, cluster: ClusterEffects, server: ServerApi, settings: SessionSettings
    ) -> None:
        self._kube = kube
        self._cache = cache
        self._cluster = cluster
        self._server = server
        self._settings = settings
        self._log = structlog.get_logger()

    async def see_to(self, environment: Manifest) -> Finding:
        """Do the next thing for one Environment. Raises: RetryableError."""
        digest = wanted_digest(environment, self._settings)
        if digest is None:
            return Finding()
        namespace = environment["metadata"]["namespace"]
        job = await self._job(namespace, digest)
        if await self._server.has_packages(namespace, digest):
            await self._clean_up(job)
            return Finding(digest=digest)
        if job is None:
            return await self._start(environment, digest)
        if job["metadata"].get("deletionTimestamp"):
            return _pending("the last Job is being removed")
        return await self._follow(environment, job, digest)

    async def run(self) -> None:
        """Collect at each interval until cancelled."""
        while True:
            await asyncio.sleep(COLLECT_SECONDS)
            try:
                await self.collect()
            except ManagedAgentsError as failure:
                self._log.warning("packages_not_collected", error=failure.message)

    async def collect(self) -> int:
        """Remove archives that no Environment wants; returns how many. Raises: RetryableError."""
        wanted = {
            (environment["metadata"]["namespace"], wanted_digest(environment, self._settings))
            for environment in self._environments()
        }
        unwanted = [place for place in await self._server.list_packages() if place not in wanted]
        for namespace, digest in unwanted:
            await self._server.remove_packages(namespace, digest)
        return len(unwanted)

    def _environments(self) -> Iterable[Manifest]:
        for namespace, name in self._cache.known(ENVIRONMENTS):
            environment = self._cache.get(ENVIRONMENTS, namespace, name)
            if environment is not None:
                yield environment

    async def _job(self, namespace: str, digest: str) -> Manifest | None:
        try:
            job = await self._kube.get(JOBS, namespace, job_name_for(digest))
        except NotFoundError:
            return None
        is_ours = (job["metadata"].get("labels") or {}).get(LABEL_DIGEST) == digest
        if not is_ours:
            raise RejectedError(
                f'Job "{job_name_for(digest)}" in namespace "{namespace}" is somebody else\'s; delete it'
            )
        return job

    async def _start(self, environment: Manifest, digest: str) -> Finding:
        namespace = environment["metadata"]["namespace"]
        rules = parse_rules(self._settings.egress_rules)
        policy = policy_for(namespace, rules, system_namespace=self._settings.system_namespace)
        try:
            await self._cluster.run(EnsureNamespace(namespace=namespace), Memory())
            await self._cluster.apply_uncached(NETWORK_POLICIES, policy)
            await self._cluster.create(JOBS, job_for(environment, digest, self._settings))
        except AlreadyExistsError:
            return _pending("the Job is made")
        except (ForbiddenError, RejectedError) as refusal:
            text = f"the Job that installs them is refused: {refusal.message}"
            return Finding(reason=conditions.PACKAGES_FAILED, message=text, requeue_after=FAILED_POLL_SECONDS)
        return _pending(f'Job "{job_name_for(digest)}" is made')

    async def _follow(self, environment: Manifest, job: Manifest, digest: str) -> Finding:
        namespace = environment["metadata"]["namespace"]
        pods = await self._pods(job)
        for pod in pods:
            await self._server.register_package_pod(pod["metadata"]["uid"], namespace, digest)
        packages = environment_packages(environment)
        match progress_of(job, pods, tuple(packages)):
            case Installing(message=message):
                return _pending(f"{message} ({summary_of(packages)})")
            case Failed(message=message):
                text = (
                    f"{message}\nChange spec.config.packages, use an image that holds them, or delete "
                    f'Job "{job["metadata"]["name"]}" to try again'
                )
                return Finding(reason=conditions.PACKAGES_FAILED, message=text, requeue_after=FAILED_POLL_SECONDS)
            case Completed():  # and yet the server has nothing: it lost its volume
                await self._cluster.remove(JOBS, job)
                return _pending("installing again: the server no longer has the archive")
            case never:
                assert_never(never)

    async def _pods(self, job: Manifest) -> list[Manifest]:
        """Return the Job's Pods that run what its template says: a label and an owner can be forged, programs not."""
        metadata = job["metadata"]
        selector = f"batch.kubernetes.io/job-name={metadata['name']}"
        found = await self._kube.list(PODS, namespace=metadata["namespace"], labels=selector)
        return [pod for pod in found if is_owned_by(pod, metadata["uid"]) and runs_our_containers(pod, job)]

    async def _clean_up(self, job: Manifest | None) -> None:
        if job is None or job["metadata"].get("deletionTimestamp"):
            return
        for pod in await self._pods(job):
            await self._server.unregister_package_pod(pod["metadata"]["uid"])
        await self._cluster.remove(JOBS, job)


def _pending(message: str) -> Finding:
    return Finding(reason=conditions.PACKAGES_PENDING, message=message, requeue_after=INSTALLING_POLL_SECONDS)
