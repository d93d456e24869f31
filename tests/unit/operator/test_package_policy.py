"""The NetworkPolicy of the Jobs that install packages: what install-time code cannot dial past the proxy."""

from ipaddress import ip_address, ip_network

import pytest

from managed_agents.contracts.egress import EgressRules
from managed_agents.operator.packages.job import policy_for


@pytest.mark.parametrize(
    "address",
    [
        *("10.0.0.1", "172.16.0.1", "192.168.1.1", "100.100.100.200", "169.254.169.254", "127.0.0.1"),
        *("168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fe80::1", "fec0::1", "::1"),
    ],
)
def test_addresses_inside_a_cloud_are_not_open(address: str) -> None:
    policy = policy_for("team", EgressRules(), system_namespace="managed-agents-system")
    world = [peer["ipBlock"] for rule in policy["spec"]["egress"] for peer in rule.get("to", ()) if "ipBlock" in peer]
    wanted = ip_address(address)
    assert world
    assert not [
        block
        for block in world
        if wanted in ip_network(block["cidr"]) and not any(wanted in ip_network(text) for text in block["except"])
    ]
