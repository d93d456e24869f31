"""The objects that a namespace with Sessions needs once: the harness's ServiceAccount and two NetworkPolicies.

Pure builders, applied by server-side apply. They have no owner, for they serve every Session of the namespace.
"""

from collections.abc import Iterable

from managed_agents.contracts import names, ports
from managed_agents.kube.resources import NETWORK_POLICIES, SERVICE_ACCOUNTS, Manifest, Resource

HARNESS_POLICY = "ma-harness"
SANDBOX_POLICY = "ma-sandbox"

_LABELS = {
    names.LABEL_PART_OF: names.PART_OF,
    names.LABEL_MANAGED_BY: names.MANAGER,
}


def component_labels(component: str) -> dict[str, str]:
    """Return the labels by which the policies select Pods of a component."""
    return {names.LABEL_COMPONENT: component, names.LABEL_MANAGED_BY: names.MANAGER}


def namespace_objects_for(namespace: str, *, system_namespace: str) -> list[tuple[Resource, Manifest]]:
    """Return what must stand before the first Pod of a Session, policies first."""
    return [
        (NETWORK_POLICIES, _policy(HARNESS_POLICY, namespace, _harness_rules())),
        (NETWORK_POLICIES, _policy(SANDBOX_POLICY, namespace, _sandbox_rules(system_namespace))),
        (SERVICE_ACCOUNTS, _service_account(namespace)),
    ]


def policies_amiss(namespace: str, standing: Iterable[Manifest], *, system_namespace: str) -> list[Manifest]:
    """Return the policies of a namespace that are not among those standing, or no longer say what they must."""
    said = {policy["metadata"]["name"]: _rules(policy) for policy in standing}
    wanted = namespace_objects_for(namespace, system_namespace=system_namespace)
    policies = [manifest for resource, manifest in wanted if resource == NETWORK_POLICIES]
    return [policy for policy in policies if said.get(policy["metadata"]["name"]) != _rules(policy)]


def _rules(policy: Manifest) -> Manifest:
    """Return a policy's specification as the kube-apiserver keeps it: it drops empty lists of rules."""
    return {key: value for key, value in policy["spec"].items() if value}


def _service_account(namespace: str) -> Manifest:
    return {
        "metadata": {"name": names.HARNESS_SERVICE_ACCOUNT, "namespace": namespace, "labels": _LABELS},
        "automountServiceAccountToken": False,
    }


def _policy(name: str, namespace: str, spec: Manifest) -> Manifest:
    return {"metadata": {"name": name, "namespace": namespace, "labels": _LABELS}, "spec": spec}


def _harness_rules() -> Manifest:
    """Nobody dials a harness; the kubelet's probes come from the node, which policies do not filter."""
    return {
        "podSelector": {"matchLabels": component_labels(names.COMPONENT_HARNESS)},
        "policyTypes": ["Ingress"],
        "ingress": [],
    }


def _sandbox_rules(system_namespace: str) -> Manifest:
    """A sandbox dials nobody, not even DNS; harness Pods of its namespace and the server dial the supervisor."""
    harness = {"podSelector": {"matchLabels": component_labels(names.COMPONENT_HARNESS)}}
    server = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": system_namespace}},
        "podSelector": {"matchLabels": {names.LABEL_COMPONENT: "server"}},
    }
    return {
        "podSelector": {"matchLabels": component_labels(names.COMPONENT_SANDBOX)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [harness, server], "ports": [{"port": ports.SUPERVISOR_PORT, "protocol": "TCP"}]}],
        "egress": [],
    }
