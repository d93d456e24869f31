"""What an administrator applies before the first session, without our workloads: the bench runs those itself."""

from collections.abc import Sequence
from typing import Any

from managed_agents.contracts import names
from support.kubeclient import Json, KubeClient, KubeError, eventually
from support.manifests import MANIFESTS, kustomized

NAMESPACE = "scale"
SYSTEM = names.SYSTEM_NAMESPACE
ENVIRONMENT_WARM_MAX = 100
"""The schema's bound of `warmReplicas`; the bounds of a namespace's Environments add up to one pool."""
IDLE_SECONDS = 5
"""A session gives its harness Deployment back so soon after its turn, so that a load pays for its whole life."""
NODE_PODS = 110
SETTLED_SECONDS = 60.0

_OUR_WORKLOADS = ("Deployment", "StatefulSet", "Service")


def install(admin: KubeClient) -> None:
    """Apply definitions, roles and admission policies, and make the tenant."""
    objects = [item for item in kustomized(MANIFESTS / "install") if item["kind"] not in _OUR_WORKLOADS]
    first = [item for item in objects if item["kind"] in ("Namespace", "CustomResourceDefinition")]
    for item in [*first, *(item for item in objects if item not in first), _namespace()]:
        admin.apply(item)
    for item in (*_in(NAMESPACE, kustomized(MANIFESTS / "tenant")), *_developer()):
        admin.apply(item)
    definitions = [item["metadata"]["name"] for item in first if item["kind"] == "CustomResourceDefinition"]
    eventually(lambda: all(_is_established(admin, name) for name in definitions), seconds=SETTLED_SECONDS)


def furnish(admin: KubeClient) -> None:
    """Give the tenant a model, an agent and the Environment of its sessions, once the definitions are served."""
    for item in tenant_objects():
        _applied(admin, item)


def tenant_objects() -> list[Json]:
    """Return what the sessions of the bench refer to."""
    model = {"id": "simulated", "contextWindowTokens": 200_000}
    key = {"secretKeyRef": {"name": "model-key", "key": "api-key"}}
    provider = {"endpoint": "http://simulator.invalid", "apiKey": key, "default": True}
    secret = {"apiVersion": "v1", "kind": "Secret", "stringData": {"api-key": "none"}}
    account = {"apiVersion": "v1", "kind": "ServiceAccount"}  # the operator's first Pod of a namespace brings it, too
    return [
        {**account, "metadata": {"name": names.HARNESS_SERVICE_ACCOUNT, "namespace": NAMESPACE}},
        {**secret, "metadata": {"name": "model-key", "namespace": NAMESPACE}},
        _ours("ModelProvider", "simulated", {**provider, "models": [model]}),
        _ours("Agent", "helper", {"model": {"id": "simulated"}, "system": "You are brief."}),
        environment("idle", warm=0, idle_seconds=IDLE_SECONDS),
    ]


def environment(name: str, *, warm: int, idle_seconds: int = 120) -> Json:
    """Return an Environment with so many warm harnesses."""
    harness = {"warmReplicas": warm, "idleTimeoutSeconds": idle_seconds}
    return _ours(
        "Environment", name, {"config": {"type": "cloud", "networking": {"type": "limited"}}, "harness": harness}
    )


def shares_of(total: int) -> list[int]:
    """Divide a pool's size over as many Environments as the schema's bound asks for."""
    whole, rest = divmod(total, ENVIRONMENT_WARM_MAX)
    return [ENVIRONMENT_WARM_MAX] * whole + ([rest] if rest else [])


def node(number: int) -> Json:
    """Return a Node that kwok keeps."""
    name = f"kwok-{number:04d}"
    size = {"cpu": "64", "memory": "256Gi", "pods": str(NODE_PODS)}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/hostname": name, "type": "kwok"},
            "annotations": {"kwok.x-k8s.io/node": "fake"},
        },
        "status": {"capacity": size, "allocatable": size},
    }


def _ours(kind: str, name: str, spec: dict[str, Any]) -> Json:
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "managedagents.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}


def _namespace() -> Json:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}


def _developer() -> list[Json]:
    """A ServiceAccount that may do what a tenant's developer may."""
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "developer", "namespace": NAMESPACE}}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "managed-agents-editor"}
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "developer", "namespace": NAMESPACE},
        "roleRef": role,
        "subjects": [{"kind": "ServiceAccount", "name": "developer", "namespace": NAMESPACE}],
    }
    return [account, binding]


def _in(namespace: str, objects: Sequence[Json]) -> list[Json]:
    return [{**item, "metadata": {**item["metadata"], "namespace": namespace}} for item in objects]


def _is_established(admin: KubeClient, name: str) -> bool:
    found = admin.request("GET", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}")
    conditions = (found.get("status") or {}).get("conditions") or []
    return any(item["type"] == "Established" and item["status"] == "True" for item in conditions)


def _applied(admin: KubeClient, item: Json) -> None:
    """Apply an object of a kind that may have been defined a moment ago."""

    def is_applied() -> bool:
        try:
            admin.apply(item)
        except KubeError as refused:
            if refused.status != 404:
                raise
            return False
        return True

    eventually(is_applied, seconds=SETTLED_SECONDS)


def token_of(admin: KubeClient, account: str, namespace: str, *, audience: str | None = None) -> str:
    """Ask for a ServiceAccount's token; a reserved audience is asked for as a kubelet would."""
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
    spec: dict[str, Any] = {"expirationSeconds": 4 * 3600} | ({"audiences": [audience]} if audience else {})
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    asking = admin if audience is None else admin.acting_as("kubelet", "system:nodes", "system:masters")
    return str(asking.request("POST", path, body)["status"]["token"])
