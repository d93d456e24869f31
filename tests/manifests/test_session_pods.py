"""What the operator makes for a session, before a real kube-apiserver: `restricted`, and without credentials (A33)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from managed_agents.contracts.names import warm_name_for
from managed_agents.operator.pools.sandboxes_pods import sandbox_pool_name_for, warm_claim_for, warm_pod_for
from managed_agents.operator.sessions.harness_pods import harness_deployment_for
from managed_agents.operator.sessions.policies import namespace_objects_for
from managed_agents.operator.sessions.sandbox_pods import sandbox_pod_for, workspace_claim_for
from managed_agents.operator.settings import SessionSettings
from support.apiserver import ControlPlane
from support.manifests import MANIFESTS, kustomized, read
from support.requirements import requirement

pytestmark = pytest.mark.apiserver

Json = dict[str, Any]
VALID = Path(__file__).parent / "valid"
ENVIRONMENTS = {item["metadata"]["name"]: item for item in read(VALID / "environments.yaml")}


@pytest.fixture(scope="module")
def tenant(plane: ControlPlane) -> Iterator[str]:
    """A tenant's namespace under Pod Security `restricted`, with the ServiceAccounts that its Pods use."""
    (namespace,) = [item for item in kustomized(MANIFESTS / "install") if item["kind"] == "Namespace"]
    name = f"{plane.namespace}-tenant"
    made = plane.client.create({**namespace, "metadata": {"name": name, "labels": namespace["metadata"]["labels"]}})
    for account in ("default", "ma-harness"):
        metadata = {"name": account, "namespace": name}
        plane.client.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    if plane.is_disposable:
        metadata = {"name": "gvisor"}
        plane.client.apply(
            {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": metadata, "handler": "runsc"}
        )
    yield name
    plane.client.delete(made)


def _session(namespace: str) -> Json:
    metadata = {"name": "s" * 40, "namespace": namespace, "uid": "0b0f7c0e-0000-4000-8000-000000000000"}
    spec = {"agentRef": {"name": "a" * 40}, "environmentRef": {"name": "e" * 40}}
    kind = {"apiVersion": "managedagents.dev/v1alpha1", "kind": "Session"}
    return {**kind, "metadata": metadata, "spec": spec}


def _harness_pod(deployment: Json) -> Json:
    template = deployment["spec"]["template"]
    metadata = {**template["metadata"], "name": "ma-probe", "namespace": deployment["metadata"]["namespace"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def _sandbox_pod(namespace: str, environment: Json) -> Json:
    settings = SessionSettings()
    return sandbox_pod_for(
        _session(namespace),
        environment,
        pod_name="ma-sandbox",
        token_sha256="0" * 64,
        settings=settings,
        claim="ma-claim",
    )


def test_harness_is_restricted_and_only_its_proxy_mounts_what_is_secret(plane: ControlPlane, tenant: str) -> None:
    deployment = harness_deployment_for(_session(tenant), None, SessionSettings())
    plane.client.create(deployment, dry_run=True)
    pod = _harness_pod(deployment)
    plane.client.create(pod, dry_run=True)
    assert pod["spec"]["automountServiceAccountToken"] is False
    secret = {volume["name"] for volume in pod["spec"]["volumes"] if volume.keys() & {"secret", "projected"}}
    containers = pod["spec"]["containers"]
    mounting = {
        container["name"]
        for container in containers
        if secret & {mount["name"] for mount in container.get("volumeMounts", [])}
    }
    assert (len(secret), mounting) == (3, {"proxy"})


@requirement("A33")
@pytest.mark.parametrize("name", sorted(ENVIRONMENTS))
def test_sandbox_is_restricted_and_mounts_nothing_secret(plane: ControlPlane, tenant: str, name: str) -> None:
    environment = ENVIRONMENTS[name]
    if not plane.is_disposable:
        environment.get("spec", {}).get("sandbox", {}).pop("runtimeClassName", None)
    pod = _sandbox_pod(tenant, environment)
    plane.client.create(pod, dry_run=True)
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert "serviceAccountName" not in pod["spec"]
    assert [volume for volume in pod["spec"]["volumes"] if volume.keys() & {"secret", "projected", "hostPath"}] == []


def test_claim_and_policies_are_valid(plane: ControlPlane, tenant: str) -> None:
    workspace = ENVIRONMENTS["everything"]["spec"]["sandbox"]["workspace"]
    plane.client.create(workspace_claim_for(_session(tenant), workspace, "ma-claim"), dry_run=True)
    for resource, manifest in namespace_objects_for(tenant, system_namespace="managed-agents-system"):
        plane.client.apply({"apiVersion": resource.api_version, "kind": resource.kind, **manifest}, dry_run=True)


@requirement("A33")
def test_a_warm_sandbox_is_accepted_without_an_owner_under_the_longest_name(plane: ControlPlane, tenant: str) -> None:
    metadata = {"name": "e" * 40, "namespace": tenant, "uid": "u"}
    environment = {"metadata": metadata, "spec": {"sandbox": {"workspace": {"size": "1Gi"}}}}
    pool, name = sandbox_pool_name_for(environment, SessionSettings()), warm_name_for("e" * 40, "0" * 10)
    pod = warm_pod_for(environment, pool, pod_name=name, token_sha256="0" * 64, settings=SessionSettings())
    plane.client.create(pod, dry_run=True)
    plane.client.create(warm_claim_for(environment, pool, pod_name=name), dry_run=True)
