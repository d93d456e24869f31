"""Where a sandbox may go: the table of decisions, before and after a name is resolved."""

from ipaddress import ip_address, ip_network

import pytest

from managed_agents.contracts.egress import EgressRules, parse_rules
from managed_agents.proxy.egress_hosts import MalformedHostError, Target, authority_from, target_from
from managed_agents.proxy.egress_rules import Networking, address_is_open, decide, networking_from

OPEN = Networking(is_limited=False)
LIMITED = Networking(is_limited=True, hosts=frozenset({"api.example.com", "*.allowed.example"}))
MANAGERS = Networking(is_limited=True, allows_package_managers=True)
RULES = EgressRules()
ADMIN = parse_rules(
    '{"ports": [8443], "allowed_hosts": ["registry.team.svc.cluster.local:5000", "mirror"],'
    ' "allowed_cidrs": ["10.1.2.0/24"], "blocked_cidrs": ["8.8.0.0/16"], "registries": {"pip": ["pip.example.com"]}}'
)


@pytest.mark.parametrize(
    ("networking", "rules", "destination", "reason"),
    [
        (OPEN, RULES, "example.com:443", "unrestricted"),
        (OPEN, RULES, "EXAMPLE.com.:80", "unrestricted"),
        (OPEN, RULES, "8.8.8.8:443", "unrestricted"),
        (OPEN, RULES, "[2606:4700::1111]:443", "unrestricted"),
        (OPEN, RULES, "bücher.example:443", "unrestricted"),
        (OPEN, RULES, "example.com:22", "port"),
        (OPEN, RULES, "10.0.0.1:443", "internal_address"),
        (OPEN, RULES, "127.0.0.1:443", "internal_address"),
        (OPEN, RULES, "169.254.169.254:80", "internal_address"),
        (OPEN, RULES, "[::1]:443", "internal_address"),
        (OPEN, RULES, "[::ffff:10.0.0.1]:443", "internal_address"),
        (OPEN, RULES, "[64:ff9b::a00:1]:443", "internal_address"),
        (OPEN, RULES, "[2002:a00:1::]:443", "internal_address"),
        (OPEN, RULES, "localhost:443", "internal_name"),
        (OPEN, RULES, "kubernetes:443", "internal_name"),
        (OPEN, RULES, "kubernetes.default.svc:443", "internal_name"),
        (OPEN, RULES, "server.managed-agents-system.svc.cluster.local.:80", "internal_name"),
        (OPEN, RULES, "metadata.google.internal:80", "internal_name"),
        (LIMITED, RULES, "api.example.com:443", "allowed_host"),
        (LIMITED, RULES, "API.Example.COM.:443", "allowed_host"),
        (LIMITED, RULES, "a.allowed.example:443", "allowed_host"),
        (LIMITED, RULES, "a.b.allowed.example:443", "allowed_host"),
        (LIMITED, RULES, "allowed.example:443", "not_allowed"),
        (LIMITED, RULES, "notallowed.example:443", "not_allowed"),
        (LIMITED, RULES, "api.example.com.evil.example:443", "not_allowed"),
        (LIMITED, RULES, "evil-api.example.com:443", "not_allowed"),
        (LIMITED, RULES, "api.example.com:8443", "port"),
        (LIMITED, RULES, "8.8.8.8:443", "ip_address"),
        (LIMITED, ADMIN, "pip.example.com:443", "not_allowed"),
        (MANAGERS, RULES, "pip.example.com:443", "not_allowed"),
        (MANAGERS, RULES, "example.com:443", "not_allowed"),
        (MANAGERS, ADMIN, "pip.example.com:443", "package_manager"),
        (LIMITED, ADMIN, "api.example.com:8443", "allowed_host"),
        (LIMITED, ADMIN, "mirror:80", "not_allowed"),
        (OPEN, ADMIN, "mirror:80", "administrator"),
        (OPEN, ADMIN, "registry.team.svc.cluster.local:5000", "administrator"),
        (OPEN, ADMIN, "registry.team.svc.cluster.local:5001", "port"),
        (OPEN, ADMIN, "10.1.2.3:443", "unrestricted"),
        (OPEN, ADMIN, "8.8.8.8:443", "internal_address"),
    ],
)
def test_a_destination_is_judged(networking: Networking, rules: EgressRules, destination: str, reason: str) -> None:
    decision = decide(target_from(*authority_from(destination, None)), networking, rules)
    allowed = reason in {"unrestricted", "allowed_host", "package_manager", "administrator"}
    assert (decision.is_allowed, decision.reason) == (allowed, reason)
    if not allowed:
        assert target_from(*authority_from(destination, None)).host in decision.message


@pytest.mark.parametrize(
    "address",
    [
        *("10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.8.8.8"),
        *("169.254.169.254", "168.63.129.16", "0.0.0.0", "0.1.2.3", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
        *("192.0.0.1", "192.0.0.192", "fec0::1", "3fff::1", "192.0.2.1", "198.18.0.1", "192.88.99.1"),
        *("::", "::1", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1", "2001::1", "2002:808:808::"),
        *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "::10.0.0.1"),
    ],
)
def test_an_address_that_is_not_public_is_never_dialled(address: str) -> None:
    assert not address_is_open(ip_address(address), "example.com", RULES)


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "64:ff9b::808:808"])
def test_a_public_address_is_dialled(address: str) -> None:
    assert address_is_open(ip_address(address), "example.com", RULES)


def test_the_administrators_networks_come_before_and_after_the_usual_ones() -> None:
    rules = EgressRules(allowed=(ip_network("10.1.2.0/24"),), blocked=(ip_network("8.8.8.0/24"),))
    assert address_is_open(ip_address("10.1.2.3"), "example.com", rules)
    assert not address_is_open(ip_address("10.1.3.3"), "example.com", rules)
    assert not address_is_open(ip_address("8.8.8.8"), "example.com", rules)


@pytest.mark.parametrize(
    "authority",
    [
        *("", ":443", "example.com", "example.com:", "example.com:0", "example.com:70000", "example.com:8x"),
        *("a..b:443", "-a.example:443", "a_b!.example:443", "user@example.com:443", "[::1:443", "[fe80::1%eth0]:443"),
        *("127.1:443", "0x7f.1:443", "2130706433:443", "0177.0.0.1:443", "1.2.3.4.:", "x" * 64 + ".example:443"),
        *("exa mple.com:443", "exam\tple.com:443", "a.example/b:443"),
    ],
)
def test_what_can_be_no_host_is_malformed(authority: str) -> None:
    with pytest.raises(MalformedHostError):
        target_from(*authority_from(authority, None))


def test_an_address_with_a_trailing_dot_is_an_address() -> None:
    assert target_from("127.0.0.1.", 80) == Target(host="127.0.0.1", port=80, address=ip_address("127.0.0.1"))


@pytest.mark.parametrize("config", [{}, {"networking": {}}, {"networking": {"type": "other"}}, {"networking": None}])
def test_unknown_networking_is_closed(config: dict[str, object]) -> None:
    assert networking_from(config) == Networking(is_limited=True)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("[]", "object"),
        ("{", "JSON"),
        ('{"port": [1]}', "port"),
        ('{"ports": [0]}', "ports"),
        ('{"allowed_hosts": ["a:b"]}', "allowed_hosts"),
        ('{"allowed_cidrs": ["10.0.0.1/8"]}', "allowed_cidrs"),
        ('{"blocked_cidrs": "10.0.0.0/8"}', "blocked_cidrs"),
        ('{"registries": {"conan": []}}', "registries"),
    ],
)
def test_bad_rules_name_their_key(text: str, names: str) -> None:
    with pytest.raises((ValueError, TypeError), match=names):
        parse_rules(text)


def test_no_rules_are_the_usual_ones() -> None:
    assert parse_rules(" ") == EgressRules()
