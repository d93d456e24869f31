"""The parts of Pods and NetworkPolicies that decide about packets, read from API objects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NewType

from .selectors import Labels

Direction = Literal["ingress", "egress"]
Protocol = NewType("Protocol", str)
"""Lower-case protocol as nft writes it: tcp, udp, sctp."""

FINISHED_PHASES = frozenset({"Succeeded", "Failed"})


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedPort:
    """A container port that a policy may refer to by name."""

    name: str
    protocol: Protocol
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A Pod with an address of its own; Pods of the host network share the node's and are never selected."""

    namespace: str
    name: str
    address: str
    labels: Labels
    ports: tuple[NamedPort, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A NetworkPolicy; ``rules`` are the API's own rule objects of each direction it isolates."""

    namespace: str
    name: str
    selector: Mapping[str, Any]
    rules: Mapping[Direction, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Everything the rules depend on; ``namespaces`` maps a name to its labels."""

    pods: tuple[Pod, ...]
    namespaces: Mapping[str, Labels]
    policies: tuple[Policy, ...]


def pod_from(document: Mapping[str, Any], announced: Mapping[str, str]) -> Pod | None:
    """Returns the Pod, or None while it has no IPv4 address of its own or after it finished.

    ``announced`` maps a Pod's uid to the address it was just given, which its status shows about a second later.
    """
    metadata, spec, status = document["metadata"], document["spec"], document.get("status") or {}
    address = announced.get(metadata["uid"]) or status.get("podIP") or ""
    if spec.get("hostNetwork") or status.get("phase") in FINISHED_PHASES or "." not in address:
        return None
    containers = [*(spec.get("initContainers") or ()), *spec["containers"]]
    return Pod(
        namespace=metadata["namespace"],
        name=metadata["name"],
        address=address,
        labels=metadata.get("labels") or {},
        ports=tuple(_named_port(port) for item in containers for port in item.get("ports") or () if port.get("name")),
    )


def _named_port(port: Mapping[str, Any]) -> NamedPort:
    return NamedPort(name=port["name"], protocol=protocol_of(port), number=port["containerPort"])


def protocol_of(port: Mapping[str, Any]) -> Protocol:
    """Returns the protocol of a container port or policy port; the API's default is TCP."""
    return Protocol((port.get("protocol") or "TCP").lower())


def policy_from(document: Mapping[str, Any]) -> Policy:
    """Returns the policy; without policyTypes it isolates ingress, and egress only if it has egress rules."""
    metadata, spec = document["metadata"], document["spec"]
    types = spec.get("policyTypes") or (["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])
    rules: dict[Direction, Sequence[Mapping[str, Any]]] = {}
    if "Ingress" in types:
        rules["ingress"] = spec.get("ingress") or ()
    if "Egress" in types:
        rules["egress"] = spec.get("egress") or ()
    selector = spec.get("podSelector") or {}
    return Policy(namespace=metadata["namespace"], name=metadata["name"], selector=selector, rules=rules)
