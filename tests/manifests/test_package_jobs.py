"""The Job that installs packages at a real kube-apiserver: valid, `restricted`, its token in one container only."""

from collections.abc import Iterator
from typing import Any

import pytest

from managed_agents.contracts.egress import parse_rules
from managed_agents.operator.packages.job import job_for, policy_for
from managed_agents.operator.sessions.sandbox_pods import sandbox_pod_for
from managed_agents.operator.settings import SessionSettings
from support.apiserver import ControlPlane
from support.manifests import MANIFESTS, kustomized

pytestmark = pytest.mark.apiserver

Json = dict[str, Any]
DIGEST = "0123456789abcdef" * 2
RULES = (
    '{"ports": [8443], "allowed_hosts": ["mirror.svc:5000"], "allowed_cidrs": ["10.1.0.0/16"],'
    ' "blocked_cidrs": ["8.8.8.0/24"]}'
)
SETTINGS = SessionSettings(egress_rules=RULES)
PACKAGES = {manager: ["x"] for manager in ("apt", "cargo", "gem", "go", "npm", "pip")}


@pytest.fixture(scope="module")
def tenant(plane: ControlPlane) -> Iterator[str]:
    """A namespace under Pod Security `restricted` with the harness's ServiceAccount."""
    (namespace,) = [item for item in kustomized(MANIFESTS / "install") if item["kind"] == "Namespace"]
    name = f"{plane.namespace}-packages"
    made = plane.client.create({**namespace, "metadata": {"name": name, "labels": namespace["metadata"]["labels"]}})
    metadata = {"name": "ma-harness", "namespace": name}
    plane.client.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    yield name
    plane.client.delete(made)


def _environment(namespace: str) -> Json:
    metadata = {"name": "e" * 40, "namespace": namespace, "uid": "0b0f7c0e-0000-4000-8000-000000000000"}
    config = {"type": "cloud", "packages": PACKAGES}
    kind = {"apiVersion": "managedagents.dev/v1alpha1", "kind": "Environment"}
    return {**kind, "metadata": metadata, "spec": {"config": config}}


def test_job_and_its_pod_are_valid_and_restricted(plane: ControlPlane, tenant: str) -> None:
    job = job_for(_environment(tenant), DIGEST, SETTINGS)
    plane.client.create(job, dry_run=True)
    template = job["spec"]["template"]
    metadata = {**template["metadata"], "name": "ma-probe", "namespace": tenant}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
    plane.client.create(pod, dry_run=True)


def test_only_the_upload_holds_the_token(tenant: str) -> None:
    spec = job_for(_environment(tenant), DIGEST, SETTINGS)["spec"]["template"]["spec"]
    secret = {volume["name"] for volume in spec["volumes"] if volume.keys() & {"secret", "projected"}}
    containers = [*spec["initContainers"], *spec["containers"]]
    mounting = {
        container["name"]
        for container in containers
        if secret & {mount["name"] for mount in container.get("volumeMounts", [])}
    }
    assert (secret, mounting) == ({"server-token"}, {"upload"})
    assert spec["automountServiceAccountToken"] is False
    names = [container["name"] for container in spec["initContainers"]]
    assert names == ["network", *(f"install-{manager}" for manager in sorted(PACKAGES))]


def test_policy_is_valid_and_opens_what_the_administrator_opens(plane: ControlPlane, tenant: str) -> None:
    policy = policy_for(tenant, parse_rules(RULES), system_namespace="managed-agents-system")
    plane.client.create({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", **policy}, dry_run=True)
    web = policy["spec"]["egress"][2]
    assert [port["port"] for port in web["ports"]] == [80, 443, 5000, 8443]
    assert "8.8.8.0/24" in web["to"][0]["ipBlock"]["except"]
    assert {"ipBlock": {"cidr": "10.1.0.0/16"}} in web["to"]


def test_a_sandbox_with_packages_is_valid_and_restricted(plane: ControlPlane, tenant: str) -> None:
    metadata = {"name": "s", "namespace": tenant, "uid": "0b0f7c0e-0000-4000-8000-000000000001"}
    spec = {"agentRef": {"name": "a"}, "environmentRef": {"name": "e"}}
    session = {"apiVersion": "managedagents.dev/v1alpha1", "kind": "Session", "metadata": metadata, "spec": spec}
    pod = sandbox_pod_for(
        session, _environment(tenant), pod_name="ma-sandbox", token_sha256="0" * 64, settings=SETTINGS, claim="ma-claim"
    )
    plane.client.create(pod, dry_run=True)
