"""A tenant's namespace before a real kube-apiserver: Pod Security, and a quota that our own Pods fit into."""

import secrets
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest

from managed_agents.operator.sessions.harness_pods import harness_deployment_for
from managed_agents.operator.sessions.sandbox_pods import sandbox_pod_for
from managed_agents.operator.settings import SessionSettings
from manifests.test_policies import BINDINGS, refused, session
from support.apiserver import ControlPlane
from support.kubeclient import Json, eventually
from support.manifests import MANIFESTS, kustomized
from support.requirements import requirement

pytestmark = pytest.mark.apiserver

ENFORCE = "pod-security.kubernetes.io/enforce"
POLICY = "managed-agents-tenant-namespaces"
ENVIRONMENT: Json = {"metadata": {"name": "box", "uid": "u"}, "spec": {"config": {"type": "cloud"}}}


@pytest.fixture
def tenant(plane: ControlPlane) -> Iterator[str]:
    """A namespace under Pod Security `restricted`, with the ServiceAccounts that Pods use."""
    name = f"tenant-{secrets.token_hex(3)}"
    metadata = {"name": name, "labels": {ENFORCE: "restricted"}}
    made = plane.client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    for account in ("default", "ma-harness"):
        of = {"name": account, "namespace": name}
        plane.client.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": of})
    yield name
    plane.client.delete(made)


@requirement("tenant-restricted")
def test_a_session_where_nothing_is_restricted_is_told_of_or_refused(plane: ControlPlane, tenant: str) -> None:
    """It warns as installed; the same policy refuses where an administrator says Deny."""
    loose, strict = session(plane.namespace), session(tenant)
    plane.client.create(loose, dry_run=True)
    assert BINDINGS[POLICY]["spec"]["validationActions"] == ["Warn"]
    if not plane.is_disposable:
        pytest.skip("changes a policy, so needs a kube-apiserver of its own")
    denying = deepcopy(BINDINGS[POLICY])
    denying["spec"]["validationActions"] = ["Deny"]
    plane.client.apply(denying)
    try:
        eventually(lambda: refused(lambda: plane.client.create(loose, dry_run=True)) is not None)
        said = refused(lambda: plane.client.create(loose, dry_run=True)) or ""
        assert f'metadata.namespace: "{plane.namespace}" does not enforce Pod Security restricted' in said
        assert f"kubectl label namespace {plane.namespace} {ENFORCE}=restricted" in said
        plane.client.create(strict, dry_run=True)
    finally:
        plane.client.apply(BINDINGS[POLICY])


def enforced(plane: ControlPlane, namespace: str, **used: str) -> None:
    """Put the quota in force; no controller runs here, so its status is written as one would."""
    for item in kustomized(MANIFESTS / "tenant" / "quota"):
        item["metadata"]["namespace"] = namespace
        made = plane.client.create(item)
        if item["kind"] == "ResourceQuota":
            hard = item["spec"]["hard"]
            zero = dict.fromkeys(hard, "0")
            plane.client.replace({**made, "status": {"hard": hard, "used": zero | used}}, subresource="status")


@requirement("tenant-quota")
def test_a_session_beyond_the_quota_is_refused_by_name(plane: ControlPlane, tenant: str) -> None:
    number = "count/sessions.managedagents.dev"
    enforced(plane, tenant, **{number: "499"})
    plane.client.create(session(tenant))
    eventually(lambda: refused(lambda: plane.client.create(session(tenant), dry_run=True)) is not None)
    said = refused(lambda: plane.client.create(session(tenant))) or ""
    assert f"exceeded quota: managed-agents, requested: {number}=1, used: {number}=500, limited: {number}=500" in said


@requirement("tenant-quota", "A33")
def test_the_pods_of_a_session_say_all_that_a_quota_asks_for(plane: ControlPlane, tenant: str) -> None:
    enforced(plane, tenant)
    owner = session(tenant)
    owner["metadata"]["uid"] = "0b0f7c0e-0000-4000-8000-000000000000"
    settings = SessionSettings()
    template = harness_deployment_for(owner, None, settings)["spec"]["template"]
    harness = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "ma-harness", "namespace": tenant}}
    sandbox = sandbox_pod_for(
        owner, ENVIRONMENT, pod_name="ma-sandbox", token_sha256="0" * 64, settings=settings, claim=""
    )
    for pod in ({**harness, "spec": template["spec"]}, sandbox):
        made = plane.client.create(pod, dry_run=True)
        for asked, given in zip(_containers(pod), _containers(made), strict=True):
            for kind in ("requests", "limits"):
                said = {key: given["resources"][kind][key] for key in ("cpu", "memory")}
                assert said == {key: asked["resources"][kind][key] for key in said}, "nothing of ours gets a default"
    bare: Json = {"containers": [{"name": "main", "image": "none"}]}
    made = plane.client.create({**harness, "spec": _restricted(bare)}, dry_run=True)
    assert made["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "500m", "memory": "256Mi"}


def _containers(pod: Json) -> list[Any]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def _restricted(spec: Json) -> Json:
    container = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    spec["containers"][0]["securityContext"] = container
    return {**spec, "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}}
