"""What the queue reconciles, and which keys an object's event concerns. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from managed_agents.contracts import names
from managed_agents.kube.resources import (
    AGENTS,
    DEPLOYMENTS,
    ENVIRONMENTS,
    MODEL_PROVIDERS,
    NETWORK_POLICIES,
    PODS,
    SESSIONS,
    VAULTS,
    Manifest,
    Resource,
)
from managed_agents.operator.cache import Cache
from managed_agents.operator.catalog.repositories import needs_credentials
from managed_agents.operator.packages.spec import environment_packages
from managed_agents.operator.sessions.model import is_ready
from managed_agents.operator.watched import CHILDREN

_KOPF = f"operator.{names.GROUP}/"
"""How kopf's own annotations begin."""

Kind = Literal["Session", "Agent", "Environment", "Providers", "Namespace", "Pools", "Vaults"]


@dataclass(frozen=True, slots=True)
class Key:
    """One thing to reconcile. All but the first three concern a whole namespace and have no name."""

    kind: Kind
    namespace: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}"


def keys_for(resource: Resource, manifest: Manifest, before: Manifest | None, cache: Cache) -> Iterator[Key]:
    """Yield what an object's event concerns: itself, its Session, and those that refer to it."""
    namespace, name = manifest["metadata"]["namespace"], manifest["metadata"]["name"]
    if resource == SESSIONS:
        yield from _keys_of_session(manifest, before)
    elif resource in CHILDREN:
        yield from _keys_of_child(resource, manifest, before, cache)
        if before is None and resource == PODS:
            yield Key("Namespace", namespace)
    elif resource == NETWORK_POLICIES:
        yield Key("Namespace", namespace)
    elif resource == AGENTS:
        yield from _waiting_sessions(cache, namespace, "agentRef", name)
    elif resource == ENVIRONMENTS and _is_changed(manifest, before):
        if environment_packages(manifest):  # the queue comes back to look at its Job; kopf's handlers do not
            yield Key("Environment", namespace, name)
        yield from _sessions_of(cache, namespace, "environmentRef", name)
        yield Key("Pools", namespace)
    elif resource == VAULTS:
        yield from _keys_of_vault(manifest, before, cache)
    elif resource == MODEL_PROVIDERS and _is_changed(manifest, before):
        yield Key("Providers", namespace)
        yield from providers_changed(cache, namespace)


def _keys_of_session(session: Manifest, before: Manifest | None) -> Iterator[Key]:
    yield Key("Session", session["metadata"]["namespace"], session["metadata"]["name"])
    named = needs_credentials(session) or (before is not None and needs_credentials(before))
    if named and _is_changed(session, before):
        yield Key("Vaults", session["metadata"]["namespace"])


def _keys_of_vault(vault: Manifest, before: Manifest | None, cache: Cache) -> Iterator[Key]:
    namespace, name = vault["metadata"]["namespace"], vault["metadata"]["name"]
    is_changed = _is_changed(vault, before)
    if is_changed or _is_told(vault, before):
        yield Key("Vaults", namespace)
    if is_changed:
        yield from _sessions_with(cache, namespace, name)


def _keys_of_child(resource: Resource, manifest: Manifest, before: Manifest | None, cache: Cache) -> Iterator[Key]:
    """Yield a child's Session; of what is in a pool, or was until now, the pools; of a replacement Pod, both."""
    namespace = manifest["metadata"]["namespace"]
    labels = manifest["metadata"].get("labels") or {}
    session = labels.get(names.LABEL_SESSION)
    if session is None and labels.get(names.LABEL_HARNESS):
        deployment = cache.get(DEPLOYMENTS, namespace, labels[names.LABEL_HARNESS])
        session = (deployment["metadata"].get("labels") or {}).get(names.LABEL_SESSION) if deployment else None
    if session:
        yield Key("Session", namespace, session)
        if (resource == DEPLOYMENTS or before is None) and has_credentials(cache, namespace, session):
            yield Key("Vaults", namespace)
    if names.LABEL_POOL in labels or names.LABEL_POOL in ((before or manifest)["metadata"].get("labels") or {}):
        yield Key("Pools", namespace)


def providers_changed(cache: Cache, namespace: str) -> Iterator[Key]:
    """Yield whatever asks which provider serves its model."""
    for name in cache.names_in(AGENTS, namespace):
        yield Key("Agent", namespace, name)
    for name in cache.names_in(SESSIONS, namespace):
        yield Key("Session", namespace, name)


def has_credentials(cache: Cache, namespace: str, session: str) -> bool:
    """Tell whether a Session names vaults or tokens of repositories."""
    known = cache.get(SESSIONS, namespace, session)
    return known is not None and needs_credentials(known)


def _sessions_with(cache: Cache, namespace: str, vault: str) -> Iterator[Key]:
    for session in cache.in_namespace(SESSIONS, namespace):
        if any(reference["name"] == vault for reference in session["spec"].get("vaultRefs") or ()):
            yield Key("Session", namespace, session["metadata"]["name"])


def _is_changed(manifest: Manifest, before: Manifest | None) -> bool:
    """A status or an annotation of ours changes no generation, and concerns nobody else."""
    if before is None or manifest["metadata"].get("deletionTimestamp"):
        return True
    return any(manifest["metadata"].get(key) != before["metadata"].get(key) for key in ("uid", "generation"))


def _is_told(manifest: Manifest, before: Manifest | None) -> bool:
    """Tell whether an annotation is another: the server puts one on a Vault once it has written a Secret of it."""
    told = [(item or {"metadata": {}})["metadata"].get("annotations") or {} for item in (manifest, before)]
    ours, known = ({key: value for key, value in item.items() if not key.startswith(_KOPF)} for item in told)
    return ours != known


def _waiting_sessions(cache: Cache, namespace: str, field: str, name: str) -> Iterator[Key]:
    for session in cache.in_namespace(SESSIONS, namespace):
        if session["spec"][field]["name"] == name and not is_ready(session):
            yield Key("Session", namespace, session["metadata"]["name"])


def _sessions_of(cache: Cache, namespace: str, field: str, name: str) -> Iterator[Key]:
    for session in cache.in_namespace(SESSIONS, namespace):
        if session["spec"][field]["name"] == name:
            yield Key("Session", namespace, session["metadata"]["name"])
