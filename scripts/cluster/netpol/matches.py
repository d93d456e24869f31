"""One policy rule -> the nftables matches that allow its packets; pure."""

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Network, ip_network
from typing import Any

from .model import Direction, Pod, Protocol, World, protocol_of
from .selectors import selects

_PEER_ADDRESS: Mapping[Direction, str] = {"ingress": "ip saddr", "egress": "ip daddr"}
_PEERS_FIELD: Mapping[Direction, str] = {"ingress": "from", "egress": "to"}


def rule_matches(
    rule: Mapping[str, Any], direction: Direction, namespace: str, selected: Sequence[Pod], world: World
) -> Iterator[str]:
    """Yields a match per combination of the rule's peers and ports; an empty text matches every packet.

    ``selected`` are the Pods whose chain this is: on ingress, named ports are theirs; on egress, the peers'.
    """
    owners = selected if direction == "ingress" else world.pods
    ports = list(_port_matches(rule.get("ports") or (), owners))
    for peer in _peer_matches(rule.get(_PEERS_FIELD[direction]) or (), direction, namespace, world):
        for port in ports:
            yield " ".join(filter(None, (peer, port)))


def _peer_matches(
    peers: Sequence[Mapping[str, Any]], direction: Direction, namespace: str, world: World
) -> Iterator[str]:
    address = _PEER_ADDRESS[direction]
    if not peers:
        yield ""
    found = {pod.address for peer in peers for pod in world.pods if _is_peer(pod, peer, namespace, world)}
    if found:
        yield f"{address} {{ {', '.join(sorted(found))} }}"
    for peer in peers:
        if block := peer.get("ipBlock"):
            yield from _block_matches(block, address)


def _is_peer(pod: Pod, peer: Mapping[str, Any], namespace: str, world: World) -> bool:
    """Selectors of one peer are combined with "and"; without a namespace selector it is the policy's namespace."""
    if "ipBlock" in peer:
        return False
    if (in_namespaces := peer.get("namespaceSelector")) is None:
        reached = pod.namespace == namespace
    else:
        reached = pod.namespace in world.namespaces and selects(in_namespaces, world.namespaces[pod.namespace])
    return reached and selects(peer.get("podSelector") or {}, pod.labels)


def _block_matches(block: Mapping[str, Any], address: str) -> Iterator[str]:
    """Yields at most one match; a block of IPv6 matches nothing here, because Pods have IPv4 addresses only."""
    network = ip_network(block["cidr"], strict=False)
    if not isinstance(network, IPv4Network):
        return
    excepted = [ip_network(item, strict=False) for item in block.get("except") or ()]
    parts = [f"{address} {network}" if network.prefixlen else "meta nfproto ipv4"]
    yield " ".join([*parts, *(f"{address} != {item}" for item in excepted)])


def _port_matches(ports: Sequence[Mapping[str, Any]], owners: Sequence[Pod]) -> Iterator[str]:
    if not ports:
        yield ""
    ranges: dict[Protocol, list[tuple[int, int]]] = {}
    for port in ports:
        protocol, value = protocol_of(port), port.get("port")
        if value is None:
            yield f"meta l4proto {protocol}"
        elif isinstance(value, int):
            ranges.setdefault(protocol, []).append((value, port.get("endPort") or value))
        else:
            yield from _named_matches(value, protocol, owners)
    for protocol, items in ranges.items():
        numbers = ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in merged(items))
        yield f"{protocol} dport {{ {numbers} }}"


def _named_matches(name: str, protocol: Protocol, owners: Sequence[Pod]) -> Iterator[str]:
    """A name may stand for another number in each Pod, so the match is over address and number together."""
    pairs = {
        f"{pod.address} . {port.number}"
        for pod in owners
        for port in pod.ports
        if (port.name, port.protocol) == (name, protocol)
    }
    if pairs:
        yield f"ip daddr . {protocol} dport {{ {', '.join(sorted(pairs))} }}"


def merged(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Returns the same numbers as ascending ranges that neither overlap nor touch; nft refuses overlaps in a set."""
    result: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if result and low <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(result[-1][1], high))
        else:
            result.append((low, high))
    return result
