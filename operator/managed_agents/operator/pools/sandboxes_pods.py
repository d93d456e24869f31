"""The objects of a warm sandbox: a session's Pod without a session, and the claim of its workspace. Pure.

They have no owner until a session claims them: garbage collection must not take a Pod that was just claimed, nor a
claim that somebody works in. The operator removes them, after the server has retired them.
"""

from typing import Any

import orjson

from managed_agents.contracts import names
from managed_agents.kube.resources import Manifest
from managed_agents.operator.sessions.metadata import default_container, warm_labels_for
from managed_agents.operator.sessions.sandbox_pods import claim_of, sandbox_pod_spec
from managed_agents.operator.settings import SessionSettings


def sandbox_pool_name_for(environment: Manifest, settings: SessionSettings) -> str:
    """Name the pool of an Environment by all that shapes its sandboxes: what has another name cannot serve it."""
    spec = sandbox_pod_spec(environment, token_sha256="", claim="", settings=settings)
    content = orjson.dumps([spec, _workspace(environment)], option=orjson.OPT_SORT_KEYS)
    return f"sandbox-{names.short_hash(content.decode(), 16)}"


def warm_pod_for(
    environment: Manifest, pool: str, *, pod_name: str, token_sha256: str, settings: SessionSettings
) -> Manifest:
    """Build a warm Pod. Its claim, where it has one, has its name."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": _metadata(environment, pool, pod_name) | {"annotations": default_container("tools")},
        "spec": sandbox_pod_spec(environment, token_sha256=token_sha256, claim=pod_name, settings=settings),
    }


def warm_claim_for(environment: Manifest, pool: str, *, pod_name: str) -> Manifest:
    """Build the claim of a warm Pod's workspace."""
    return claim_of(_metadata(environment, pool, pod_name), _workspace(environment))


def _metadata(environment: Manifest, pool: str, name: str) -> dict[str, Any]:
    labels = warm_labels_for(pool, names.COMPONENT_SANDBOX)
    labels[names.LABEL_ENVIRONMENT] = environment["metadata"]["name"]
    return {"name": name, "namespace": environment["metadata"]["namespace"], "labels": labels}


def _workspace(environment: Manifest) -> dict[str, Any]:
    return (environment["spec"].get("sandbox") or {}).get("workspace") or {}
