"""What is installed and applied: Pods under the strictest Pod Security, with bounds, and samples that are valid."""

import shutil
import subprocess
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from managed_agents.contracts import ports
from support.apiserver import ControlPlane, cached_program
from support.kubeclient import KubeError
from support.manifests import MANIFESTS, kustomized, pod_templates, read
from support.requirements import requirement

Json = dict[str, Any]
EVERYTHING = [*kustomized(MANIFESTS / "install"), *kustomized(MANIFESTS / "development")]
TEMPLATES = pod_templates(EVERYTHING)
SAMPLES = sorted((MANIFESTS / "samples").glob("*.yaml"))


@pytest.fixture(scope="module")
def restricted(plane: ControlPlane) -> Iterator[str]:
    """A namespace with the labels of the installed one."""
    (namespace,) = [item for item in EVERYTHING if item["kind"] == "Namespace"]
    metadata = {"name": f"{plane.namespace}-restricted", "labels": namespace["metadata"]["labels"]}
    made = plane.client.create({**namespace, "metadata": metadata})
    account = {"name": "any", "namespace": metadata["name"]}
    plane.client.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account})
    yield f"{plane.namespace}-restricted"
    plane.client.delete(made)


def _pod(template: Json, namespace: str) -> Json:
    spec = {**deepcopy(template["spec"]), "serviceAccountName": "any"}
    mounts = [mount["name"] for container in spec["containers"] for mount in container.get("volumeMounts", [])]
    claimed = {name: {"name": name, "emptyDir": {}} for name in mounts}
    spec["volumes"] = list((claimed | {volume["name"]: volume for volume in spec.get("volumes", [])}).values())
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe", "namespace": namespace}, "spec": spec}


@requirement("A33")
@pytest.mark.apiserver
@pytest.mark.parametrize("workload", sorted(TEMPLATES))
def test_pod_passes_pod_security_restricted(plane: ControlPlane, restricted: str, workload: str) -> None:
    pod = _pod(TEMPLATES[workload], restricted)
    plane.client.create(pod, dry_run=True)
    pod["spec"]["containers"][0]["securityContext"] = {}
    with pytest.raises(KubeError, match='violates PodSecurity "restricted'):
        plane.client.create(pod, dry_run=True)


def test_a_stateful_set_replaces_a_pod_that_was_never_ready() -> None:
    """In order, a broken first Pod blocks the very update that mends it (kubernetes/kubernetes#67250)."""
    sets = [item for item in EVERYTHING if item["kind"] == "StatefulSet"]
    assert [item["metadata"]["name"] for item in sets] == ["managed-agents-server"]
    assert {item["spec"].get("podManagementPolicy") for item in sets} == {"Parallel"}


@pytest.mark.parametrize("workload", sorted(TEMPLATES))
def test_container_has_bounds_probes_and_a_read_only_root(workload: str) -> None:
    for container in TEMPLATES[workload]["spec"]["containers"]:
        assert container["resources"]["requests"].keys() == container["resources"]["limits"].keys() == {"cpu", "memory"}
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys()


def test_ports_and_paths_are_those_of_the_contracts() -> None:
    found = {
        port["containerPort"]
        for template in TEMPLATES.values()
        for container in template["spec"]["containers"]
        for port in container["ports"]
    }
    server = {ports.SERVER_PUBLIC_PORT, ports.SERVER_INTERNAL_PORT}
    assert found == server | {ports.OPERATOR_HEALTH_PORT, ports.SIMULATOR_PORT}
    operator = TEMPLATES["managed-agents-operator"]["spec"]
    (volume,) = [volume["projected"] for volume in operator["volumes"] if volume["name"] == "server-token"]
    (token,) = [source["serviceAccountToken"] for source in volume["sources"]]
    (mount,) = [mount for mount in operator["containers"][0]["volumeMounts"] if mount["name"] == "server-token"]
    assert f"{mount['mountPath']}/{token['path']}" == ports.SERVER_TOKEN_PATH
    assert token["audience"] == ports.SERVER_AUDIENCE


@pytest.mark.apiserver
@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.name)
def test_sample_is_valid(plane: ControlPlane, sample: Path) -> None:
    for item in read(sample):
        item["metadata"]["namespace"] = plane.namespace
        plane.client.apply(item, dry_run=True)


@pytest.mark.apiserver
def test_everything_applies(plane: ControlPlane) -> None:
    for item in EVERYTHING:
        plane.client.apply(item, dry_run=True)


@pytest.mark.parametrize("folder", ["install", "development", "tenant"])
def test_kustomize_renders_what_the_tests_read(folder: str) -> None:
    program = cached_program("kubectl") or shutil.which("kubectl")
    if program is None:
        pytest.skip("no kubectl in the cache of scripts/cluster or on PATH")
    command = [str(program), "kustomize", str(MANIFESTS / folder)]
    rendered = subprocess.run(command, check=True, capture_output=True, text=True)
    found = [item for item in yaml.safe_load_all(rendered.stdout) if item]
    assert sorted(map(repr, map(_sorted, found))) == sorted(map(repr, map(_sorted, kustomized(MANIFESTS / folder))))


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value
