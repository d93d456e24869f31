"""Brings what the vaults of a namespace hold to the proxies of the sessions that name them, and says what is amiss.

Secrets are read at intervals, as the providers' are, and never enter the cache; what is written is known by its digest.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

from managed_agents.contracts import names
from managed_agents.contracts.api.vaults import vault_id_of
from managed_agents.contracts.clock import Clock
from managed_agents.contracts.errors import NotFoundError
from managed_agents.kube.client import Kube
from managed_agents.kube.errors import ForbiddenError
from managed_agents.kube.resources import DEPLOYMENTS, PODS, SECRETS, SESSIONS, VAULTS, Manifest
from managed_agents.operator.apply import ClusterEffects
from managed_agents.operator.cache import Cache
from managed_agents.operator.catalog.grants import FoundSecret, Secrets
from managed_agents.operator.catalog.reconciler import SECRETS_POLL_SECONDS
from managed_agents.operator.catalog.repositories import (
    needs_credentials,
    repository_entries,
    token_problem,
    token_secrets,
)
from managed_agents.operator.catalog.status import CatalogStatus, not_ready, valid
from managed_agents.operator.catalog.vaults import (
    VaultProblem,
    VaultReading,
    access_denied_problem,
    credentials_document,
    credentials_secret_for,
    named_secrets,
    read_vault,
)
from managed_agents.operator.sessions.model import TokenFinding, session_id_of
from managed_agents.operator.summaries import Summaries

ANNOTATION_CREDENTIALS = f"{names.GROUP}/credentials-hash"
"""A changed annotation makes the kubelet refresh the Pod's Secret volumes at once (design §3)."""

_Served = tuple[Manifest, Manifest]
"""A Session, and a Deployment that serves it."""


class VaultsReconciler:
    """Reconciles the vaults of one namespace at a time; callers see to it that none runs twice at once."""

    def __init__(
        self,
        kube: Kube,
        cache: Cache,
        cluster: ClusterEffects,
        summaries: Summaries,
        found: Callable[[str, Sequence[tuple[Manifest, TokenFinding]]], None],
        *,
        clock: Clock,
    ) -> None:
        """`found` is told, for a namespace, what is amiss with the tokens of each session that is served."""
        self._kube = kube
        self._cache = cache
        self._cluster = cluster
        self._summaries = summaries
        self._found = found
        self._clock = clock
        self._status = CatalogStatus(cluster, clock)
        self._written: dict[str, dict[str, str]] = {}
        """By namespace and Deployment: the digest of what its Secret holds."""

    def forget(self) -> None:
        """Write every Secret again at the next look: somebody may have changed or removed one."""
        self._written.clear()

    async def reconcile(self, namespace: str) -> float | None:
        """Bring the credentials of a namespace to its sessions. Returns when to read the Secrets again."""
        listed = await self._kube.list(VAULTS, namespace=namespace)
        vaults = {item["metadata"]["name"]: item for item in listed if not item["metadata"].get("deletionTimestamp")}
        served = list(self._served(namespace))
        wanted = {name for vault in vaults.values() for name in named_secrets(vault)}
        tokens = {name for session, _ in served for name in token_secrets(session)}
        secrets = await self._secrets(namespace, wanted | tokens)
        now = self._clock.now()
        readings = {name: read_vault(vault, secrets, now) for name, vault in vaults.items()}
        self._found(namespace, [(session, _tokens_of(session, secrets)) for session, _ in served])
        denied = await self._bring(namespace, served, readings, secrets)
        for name, vault in vaults.items():
            await self._say(vault, access_denied_problem(namespace) if denied else readings[name].problem)
        return SECRETS_POLL_SECONDS if vaults or tokens else None

    async def _secrets(self, namespace: str, wanted: set[str]) -> Secrets:
        found: dict[str, FoundSecret] = {}
        for name in sorted(wanted):
            try:
                found[name] = await self._kube.get(SECRETS, namespace, name)
            except NotFoundError:
                found[name] = None
            except ForbiddenError:
                found[name] = "denied"
        return found

    async def _bring(
        self, namespace: str, served: Sequence[_Served], readings: Mapping[str, VaultReading], secrets: Secrets
    ) -> bool:
        """Write the Secret of each harness whose session has credentials; tell whether that is forbidden."""
        before, written = self._written.get(namespace, {}), {}
        for session, deployment in served:
            named = [reference["name"] for reference in session["spec"].get("vaultRefs") or ()]
            document = credentials_document(
                session,
                session_id_of(session),
                [readings[name] for name in named if name in readings],
                repository_entries(session, secrets),
            )
            name, uid = deployment["metadata"]["name"], deployment["metadata"]["uid"]
            digest = names.short_hash(f"{uid}/{document.decode()}", 32)
            if before.get(name) != digest:
                try:
                    secret = credentials_secret_for(session, deployment, document)
                    await self._cluster.apply_uncached(SECRETS, secret)
                except ForbiddenError:
                    return True
            written[name] = digest
            await self._nudge(deployment, digest[:12])
        self._written[namespace] = written
        return False

    def _served(self, namespace: str) -> Iterator[_Served]:
        """Yield each Session that has, or had, credentials with each Deployment that serves it, adopted or leased."""
        given = self._given(namespace)
        for session in self._cache.in_namespace(SESSIONS, namespace):
            uid = session["metadata"]["uid"]
            found = {item["metadata"]["uid"]: item for item in self._cache.children(DEPLOYMENTS, uid)}
            summary = self._summaries.get(session_id_of(session))
            if summary is not None and summary.harness is not None:
                leased = self._cache.get(DEPLOYMENTS, namespace, summary.harness.deployment_name)
                if leased is not None and leased["metadata"]["uid"] == summary.harness.deployment_uid:
                    found[leased["metadata"]["uid"]] = leased
            for deployment in found.values():
                if deployment["metadata"].get("deletionTimestamp"):
                    continue
                if needs_credentials(session) or any(_selects(deployment, labels) for labels in given):
                    yield session, deployment

    def _given(self, namespace: str) -> list[Mapping[str, str]]:
        """Return the labels of the Pods that were given credentials: their session may name none any more."""
        return [
            pod["metadata"].get("labels") or {}
            for pod in self._cache.in_namespace(PODS, namespace)
            if ANNOTATION_CREDENTIALS in (pod["metadata"].get("annotations") or {})
        ]

    async def _nudge(self, deployment: Manifest, digest: str) -> None:
        """Mark each Pod once for each content: one may have mounted the volume just before the Secret was there."""
        for pod in self._pods_of(deployment):
            marked = (pod["metadata"].get("annotations") or {}).get(ANNOTATION_CREDENTIALS)
            if marked != digest and not pod["metadata"].get("deletionTimestamp"):
                await self._cluster.annotate(PODS, pod, {ANNOTATION_CREDENTIALS: digest})

    def _pods_of(self, deployment: Manifest) -> list[Manifest]:
        pods = self._cache.in_namespace(PODS, deployment["metadata"]["namespace"])
        return [pod for pod in pods if _selects(deployment, pod["metadata"].get("labels") or {})]

    async def _say(self, vault: Manifest, problem: VaultProblem | None) -> None:
        if await self._status.paused(VAULTS, vault):
            return
        ready = valid() if problem is None else not_ready(problem.reason, problem.message)
        await self._status.write(VAULTS, vault, {"id": vault_id_of(vault)}, ready)


def _tokens_of(session: Manifest, secrets: Secrets) -> TokenFinding:
    problem = token_problem(session, secrets)
    return TokenFinding() if problem is None else TokenFinding(reason=problem.reason, message=problem.message)


def _selects(deployment: Manifest, labels: Mapping[str, str]) -> bool:
    return bool(deployment["spec"]["selector"]["matchLabels"].items() <= labels.items())
