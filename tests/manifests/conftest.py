"""One kube-apiserver for all tests here, with our CRDs, roles and policies."""

from collections.abc import Iterator
from functools import partial

import pytest

from support.apiserver import ControlPlane, UnavailableError, control_plane
from support.kubeclient import KubeClient, KubeError, eventually, plural_of
from support.manifests import MANIFESTS, crds, kustomized

ADMISSION = (
    "Namespace",
    "CustomResourceDefinition",
    "ClusterRole",
    "ClusterRoleBinding",
    "ServiceAccount",
    "Role",
    "RoleBinding",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
)
"""What decides on requests; workloads are not started here."""


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A kube-apiserver that serves our kinds under our policies, and a namespace for the tests."""
    try:
        with control_plane(tmp_path_factory.mktemp("control-plane")) as plane:
            _install(plane.client)
            yield plane
    except UnavailableError as reason:
        pytest.skip(str(reason))


def _install(client: KubeClient) -> None:
    wanted = [item for item in kustomized(MANIFESTS / "install") if item["kind"] in ADMISSION]
    for item in sorted(wanted, key=lambda item: ADMISSION.index(item["kind"])):
        client.apply(item)
    for kind in crds():
        eventually(partial(_is_served, client, kind))


def _is_served(client: KubeClient, kind: str) -> bool:
    try:
        client.request("GET", f"/apis/managedagents.dev/v1alpha1/namespaces/default/{plural_of(kind)}")
    except KubeError:
        return False
    return True
