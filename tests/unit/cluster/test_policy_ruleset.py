"""Policies to nftables text; that the text does what it says is proven by packets in tests/e2e/network_policy."""

from typing import Any

import pytest

from cluster.netpol.matches import merged
from cluster.netpol.model import NamedPort, Pod, Policy, Protocol, World, policy_from
from cluster.netpol.ruleset import ruleset_for

HTTP = NamedPort(name="http", protocol=Protocol("tcp"), number=8080)


def pod(namespace: str, name: str, address: str, *ports: NamedPort, **labels: str) -> Pod:
    return Pod(namespace=namespace, name=name, address=address, labels={"app": name, **labels}, ports=ports)


WEB = pod("a", "web", "10.244.0.1", HTTP)
CLIENT = pod("a", "client", "10.244.0.2")
OTHER = pod("b", "client", "10.244.0.3", NamedPort(name="http", protocol=Protocol("tcp"), number=80))
TEAM_B = {"matchLabels": {"team": "b"}}
CLIENTS = {"matchLabels": {"app": "client"}}
NAMESPACES = {"a": {"team": "a"}, "b": {"team": "b"}}


def policy(name: str = "p", namespace: str = "a", **spec: Any) -> Policy:
    return policy_from({"metadata": {"namespace": namespace, "name": name}, "spec": {"podSelector": {}, **spec}})


def world(*policies: Policy) -> World:
    return World(pods=(WEB, CLIENT, OTHER), namespaces=NAMESPACES, policies=policies)


def rules_of(text: str, chain: str) -> list[str]:
    """Returns the stripped lines of a chain."""
    body = text.split(f"chain {chain} {{\n")[1].split("\n  }", maxsplit=1)[0]
    return [line.strip() for line in body.splitlines()]


def allowed(rule: dict[str, Any], direction: str = "ingress") -> list[str]:
    """Returns the web Pod's chain for a policy with one rule."""
    only_web = {"matchLabels": {"app": "web"}}
    spec: dict[str, Any] = {"podSelector": only_web, "policyTypes": [direction.capitalize()], direction: [rule]}
    made = policy(**spec)
    return rules_of(ruleset_for(world(made)), f"{direction}_0")


def test_without_policies_nothing_is_filtered() -> None:
    assert ruleset_for(world()) == (
        "add table inet network_policy\n"
        "delete table inet network_policy\n"
        "table inet network_policy {\n"
        "  chain at_forward {\n"
        "    type filter hook forward priority filter - 5; policy accept;\n"
        "  }\n"
        "  chain at_input {\n"
        "    type filter hook input priority filter - 5; policy accept;\n"
        "  }\n"
        "}\n"
    )


def test_default_deny_in_both_directions_covers_forwarded_packets_and_the_node() -> None:
    text = ruleset_for(world(policy(policyTypes=["Ingress", "Egress"])))
    assert rules_of(text, "ingress_0") == ["drop"]
    assert rules_of(text, "egress_0") == ["drop"]
    assert rules_of(text, "at_forward")[1:] == [
        "ct state established,related accept",
        "ip saddr . ip daddr { 10.244.0.1 . 10.244.0.1, 10.244.0.2 . 10.244.0.2 } accept",
        "ip saddr vmap { 10.244.0.2 : jump egress_0, 10.244.0.1 : jump egress_0 }",
        "ip daddr vmap { 10.244.0.2 : jump ingress_0, 10.244.0.1 : jump ingress_0 }",
    ]
    assert rules_of(text, "at_input")[1:] == [
        "ct state established,related accept",
        "ip saddr vmap { 10.244.0.2 : jump egress_0, 10.244.0.1 : jump egress_0 }",
    ]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({}, ["return"]),
        ({"from": [{"podSelector": {}}]}, ["ip saddr { 10.244.0.1, 10.244.0.2 } return"]),
        ({"from": [{"namespaceSelector": {}}]}, ["ip saddr { 10.244.0.1, 10.244.0.2, 10.244.0.3 } return"]),
        (
            {"from": [{"namespaceSelector": TEAM_B, "podSelector": {"matchLabels": {"app": "x"}}}]},
            [],
        ),
        ({"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}, ["ip saddr 10.0.0.0/8 return"]),
        ({"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}, ["meta nfproto ipv4 return"]),
        ({"from": [{"ipBlock": {"cidr": "fd00::/8"}}]}, []),
        (
            {"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "10.1.2.0/24"]}}]},
            ["ip saddr 10.0.0.0/8 ip saddr != 10.1.0.0/16 ip saddr != 10.1.2.0/24 return"],
        ),
        ({"ports": [{"port": 80}, {"port": 8000, "endPort": 8010}]}, ["tcp dport { 80, 8000-8010 } return"]),
        ({"ports": [{"protocol": "SCTP"}]}, ["meta l4proto sctp return"]),
        ({"ports": [{"port": "http"}]}, ["ip daddr . tcp dport { 10.244.0.1 . 8080 } return"]),
        ({"ports": [{"port": "absent"}]}, []),
        (
            {"from": [{"podSelector": CLIENTS}], "ports": [{"port": 1}, {"protocol": "UDP"}]},
            ["ip saddr { 10.244.0.2 } meta l4proto udp return", "ip saddr { 10.244.0.2 } tcp dport { 1 } return"],
        ),
    ],
)  # fmt: skip
def test_ingress_rule_allows_exactly_its_peers_and_ports(rule: dict[str, Any], expected: list[str]) -> None:
    assert allowed(rule) == [*expected, "drop"]


def test_egress_rule_matches_receivers_and_their_names_for_ports() -> None:
    rule = {"to": [{"namespaceSelector": {"matchLabels": {"team": "b"}}}], "ports": [{"port": "http"}]}
    assert allowed(rule, "egress") == [
        "ip daddr { 10.244.0.3 } ip daddr . tcp dport { 10.244.0.1 . 8080, 10.244.0.3 . 80 } return",
        "drop",
    ]


def test_pods_under_the_same_policies_share_a_chain_and_others_have_their_own() -> None:
    text = ruleset_for(world(policy("all"), policy("web", podSelector={"matchLabels": {"app": "web"}}, ingress=[{}])))
    assert rules_of(text, "ingress_0") == ["drop"]
    assert rules_of(text, "ingress_1") == ["return", "drop"]
    assert "ip daddr vmap { 10.244.0.2 : jump ingress_0, 10.244.0.1 : jump ingress_1 }" in rules_of(text, "at_forward")


def test_policy_of_another_namespace_isolates_nobody_here() -> None:
    text = ruleset_for(world(policy(namespace="b", podSelector={"matchLabels": {"app": "web"}})))
    assert text == ruleset_for(world())


def test_order_of_objects_does_not_change_the_text() -> None:
    first, second = policy("x", ingress=[{}]), policy("y", policyTypes=["Egress"])
    reordered = World(pods=(OTHER, CLIENT, WEB), namespaces=NAMESPACES, policies=(second, first))
    assert ruleset_for(world(first, second)) == ruleset_for(reordered)


@pytest.mark.parametrize(
    ("ranges", "expected"),
    [
        ([], []),
        ([(80, 80)], [(80, 80)]),
        ([(90, 100), (80, 95)], [(80, 100)]),
        ([(80, 80), (81, 81)], [(80, 81)]),
        ([(1, 100), (5, 6), (200, 300)], [(1, 100), (200, 300)]),
    ],
)
def test_ranges_in_a_set_neither_overlap_nor_touch(
    ranges: list[tuple[int, int]], expected: list[tuple[int, int]]
) -> None:
    assert merged(ranges) == expected
