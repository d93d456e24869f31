"""What is read from Pods and NetworkPolicies."""

from typing import Any

import pytest

from cluster.netpol.model import NamedPort, Pod, Protocol, pod_from, policy_from


def pod_document(**status: Any) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "team", "name": "web", "uid": "u1", "labels": {"app": "web"}},
        "spec": {
            "initContainers": [{"ports": [{"name": "side", "containerPort": 9000, "protocol": "UDP"}]}],
            "containers": [{"ports": [{"name": "http", "containerPort": 8080}, {"containerPort": 1}]}],
        },
        "status": {"phase": "Running", "podIP": "10.244.0.5", **status},
    }


def test_pod_has_address_labels_and_named_ports_of_all_containers() -> None:
    assert pod_from(pod_document(), {}) == Pod(
        namespace="team",
        name="web",
        address="10.244.0.5",
        labels={"app": "web"},
        ports=(
            NamedPort(name="side", protocol=Protocol("udp"), number=9000),
            NamedPort(name="http", protocol=Protocol("tcp"), number=8080),
        ),
    )


def test_announced_address_counts_before_the_status_has_one() -> None:
    pod = pod_from(pod_document(phase="Pending", podIP=""), {"u1": "10.244.0.9"})
    assert pod is not None
    assert pod.address == "10.244.0.9"


@pytest.mark.parametrize("status", [{"podIP": ""}, {"podIP": "fd00::5"}, {"phase": "Succeeded"}, {"phase": "Failed"}])
def test_pod_without_an_address_to_filter_is_left_out(status: dict[str, str]) -> None:
    assert pod_from(pod_document(**status), {}) is None


def test_pod_of_the_host_network_is_left_out() -> None:
    document = pod_document()
    document["spec"]["hostNetwork"] = True
    assert pod_from(document, {}) is None


@pytest.mark.parametrize(
    ("spec", "directions"),
    [
        ({}, {"ingress"}),
        ({"egress": [{}]}, {"ingress", "egress"}),
        ({"policyTypes": ["Egress"]}, {"egress"}),
        ({"policyTypes": ["Ingress", "Egress"]}, {"ingress", "egress"}),
    ],
)
def test_policy_isolates_the_directions_of_its_types(spec: dict[str, Any], directions: set[str]) -> None:
    policy = policy_from({"metadata": {"namespace": "team", "name": "p"}, "spec": {"podSelector": {}, **spec}})
    assert set(policy.rules) == directions
