"""Warm harnesses: which pools a namespace has, and what to do for each. Pure.

A pool is the unowned Deployments of one harness image; all Environments of the namespace that name this image share
it. A Deployment leaves its pool when a session gets it (`sessions/run.py` adopts it) and never comes back.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from managed_agents.contracts import names
from managed_agents.contracts.api.environments import harness_image_of
from managed_agents.kube.resources import DEPLOYMENTS, Manifest
from managed_agents.operator.actions import (
    Action,
    CreateChild,
    DeleteChild,
    OfferHarness,
    PoolAction,
    WithdrawHarness,
)
from managed_agents.operator.pools.sizing import Bounds, sum_of
from managed_agents.operator.sessions.harness_pods import is_outdated, warm_deployment_for
from managed_agents.operator.sessions.metadata import environment_owner_for
from managed_agents.operator.sessions.pod_state import PodReading
from managed_agents.operator.settings import SessionSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class HarnessPool:
    """A pool that some Environment asks for, or that is still there."""

    image: str
    bounds: Bounds
    environments: tuple[Manifest, ...]
    """Those that ask for it: its owners until a session is."""

    @property
    def name(self) -> str:
        """Return the value of the pool's label."""
        return harness_pool_name_for(self.image)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """An unowned Deployment of a pool with its Pods that are proven to be its own."""

    deployment: Manifest
    pods: tuple[PodReading, ...]
    is_leased: bool
    """The server gave it to a session; the session's reconcile is about to adopt it."""

    @property
    def uid(self) -> str:
        """Return the Deployment's UID."""
        return str(self.deployment["metadata"]["uid"])

    @property
    def is_ready(self) -> bool:
        """Tell whether a Pod of it runs."""
        return any(pod.is_running and not pod.is_deleting for pod in self.pods)

    @property
    def is_deleting(self) -> bool:
        """Tell whether it is on its way out."""
        return bool(self.deployment["metadata"].get("deletionTimestamp"))


def harness_pool_name_for(image: str) -> str:
    """Name the pool of a harness image."""
    return f"harness-{names.short_hash(image)}"


def harness_pools(environments: Iterable[Manifest]) -> list[HarnessPool]:
    """Return the pools that a namespace's Environments ask for, in order of their images."""
    asking: dict[str, list[Manifest]] = {}
    for environment in environments:
        if _bounds(environment).most > 0:
            asking.setdefault(harness_image_of(environment), []).append(environment)
    return [
        HarnessPool(image=image, bounds=sum_of(map(_bounds, items)), environments=tuple(items))
        for image, items in sorted(asking.items())
    ]


def _bounds(environment: Manifest) -> Bounds:
    return Bounds.of(environment["spec"].get("harness"))


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolDecision:
    """Groups of actions, as in a Session's decision; and the counts that the Environments' status shows."""

    groups: tuple[tuple[Action | PoolAction, ...], ...]
    wanted: int
    ready: int


def decide_pool(
    pool: HarnessPool,
    members: Sequence[Member],
    *,
    namespace: str,
    wanted: int,
    offered: Mapping[str, str],
    serials: Iterable[str],
    settings: SessionSettings,
) -> PoolDecision:
    """Bring a pool to its size: offer what runs, make what is missing, retire what is outdated or too many.

    `offered` maps the Pods that the server knows to their Deployments. An outdated member stays until a new one is
    ready in its place. Before anything is deleted the server takes it back, and refuses where a session has it.
    """
    free = [member for member in members if not member.is_leased and not member.is_deleting]
    current = [member for member in free if not is_outdated(member.deployment, pool.image, settings)]
    outdated = [member for member in free if member not in current]
    ready = [member for member in current if member.is_ready]
    leavers = _surplus(current, wanted) + outdated[: max(len(outdated) - max(wanted - len(ready), 0), 0)]
    groups: list[tuple[Action | PoolAction, ...]] = [
        *((offer,) for offer in _offers(pool, namespace, free, leavers, offered)),
        *(_retirement(namespace, member) for member in leavers),
    ]
    owners = [environment_owner_for(environment) for environment in pool.environments]
    for serial in list(serials)[: max(wanted - len(current), 0)]:
        name = names.warm_name_for(names.short_hash(pool.image), serial)
        manifest = warm_deployment_for(pool.name, namespace, name, image=pool.image, owners=owners, settings=settings)
        groups.append((CreateChild(resource=DEPLOYMENTS, manifest=manifest, owner_uid=""),))
    return PoolDecision(groups=tuple(groups), wanted=wanted, ready=len(ready))


def withdrawals(members: Iterable[Member], offered: Mapping[str, str]) -> tuple[WithdrawHarness, ...]:
    """Take back the Pods that ended; what a session has is no longer the pool's, and stays with the session."""
    members = list(members)
    present = {pod.uid for member in members for pod in member.pods if not pod.has_ended}
    ours = {member.uid for member in members if not member.is_leased}
    return tuple(
        WithdrawHarness(deployment_uid=deployment, pod_uid=pod)
        for pod, deployment in sorted(offered.items())
        if pod not in present and deployment in ours
    )


def _surplus(current: list[Member], wanted: int) -> list[Member]:
    """Return what is too many: those that still start first, then the youngest."""
    by_age = sorted(current, key=_age)
    by_worth = sorted(by_age, key=lambda member: not member.is_ready)
    return by_worth[wanted:]


def _age(member: Member) -> tuple[str, str]:
    metadata: Mapping[str, Any] = member.deployment["metadata"]
    return str(metadata.get("creationTimestamp") or ""), str(metadata["name"])


def _offers(
    pool: HarnessPool, namespace: str, free: Iterable[Member], leavers: Sequence[Member], offered: Mapping[str, str]
) -> list[OfferHarness]:
    return [
        OfferHarness(
            namespace=namespace,
            image=pool.image,
            pod_name=pod.name,
            pod_uid=pod.uid,
            deployment_name=str(member.deployment["metadata"]["name"]),
            deployment_uid=member.uid,
        )
        for member in free
        if member not in leavers
        for pod in member.pods
        if not pod.has_ended and not pod.is_deleting and pod.uid not in offered
    ]


def _retirement(namespace: str, member: Member) -> tuple[Action | PoolAction, ...]:
    metadata = member.deployment["metadata"]
    return (
        WithdrawHarness(deployment_uid=member.uid),
        DeleteChild(resource=DEPLOYMENTS, namespace=namespace, name=metadata["name"], uid=member.uid),
    )
