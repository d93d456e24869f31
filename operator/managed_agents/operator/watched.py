"""Which kinds the operator follows by watches."""

from managed_agents.contracts import names
from managed_agents.kube.resources import (
    AGENTS,
    CLAIMS,
    DEPLOYMENTS,
    ENVIRONMENTS,
    MODEL_PROVIDERS,
    NETWORK_POLICIES,
    PODS,
    SESSIONS,
    VAULTS,
    Resource,
)

CATALOG = (AGENTS, ENVIRONMENTS, MODEL_PROVIDERS, VAULTS)
"""Low-count kinds: native kopf handlers, and the cache for references."""

CHILDREN = (DEPLOYMENTS, PODS, CLAIMS)
"""What a Session owns, or will own once it takes it from a pool."""

WATCHED = (*CATALOG, NETWORK_POLICIES, SESSIONS, *CHILDREN)

_OURS = f"{names.LABEL_MANAGED_BY}={names.MANAGER}"
_OF_SESSIONS = f"{_OURS},{names.LABEL_NAME}={names.NAME_OF_SESSIONS}"
"""Warm objects among them, which no Session owns yet."""


def selector_of(resource: Resource) -> str | None:
    """Return the label selector with which a kind is listed and watched: what others own never reaches this process."""
    if resource in CHILDREN:
        return _OF_SESSIONS
    return _OURS if resource == NETWORK_POLICIES else None
